// A TensorRT of our own behind the real headers: it opens the plans of tests/driver/engine/plan.py and keeps TensorRT's
// documented rules, as tests/driver/engine does behind the Python names. stubs.hpp is made by generate.py.
#include <NvInferRuntime.h>
#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "stubs.hpp"
#include "text/json.hpp"

using nvinfer1::DataType;
using nvinfer1::Dims;
using Strategy = nvinfer1::ExecutionContextAllocationStrategy;

namespace {

constexpr long kActivationBytes = 4096;  // of an image
constexpr std::size_t kWeightBytes = 65536, kAlignment = 256;
constexpr int kMostTensors = 8;

// What tests ask for and about.
struct State {
  std::mutex lock;
  std::map<std::string, int> fails;  // call -> how many times it still succeeds before it fails once
  std::vector<long> batches;         // of the inferences that were started, captures among them
  std::atomic<int> runtimes{0}, engines{0}, captures{0};
  bool fail(const std::string &call) {
    const std::lock_guard<std::mutex> guard(lock);
    const auto found = fails.find(call);
    if (found == fails.end() || found->second-- > 0) return false;
    fails.erase(found);
    return true;
  }
};

State &state() {
  static auto *const made = new State;
  return *made;
}

// As source/inference.cpp of the stand-in lays it out.
struct Slice {
  std::uint64_t address;
  long elements;
  int dtype;
};
struct Inference {
  void *execution;
  std::uint64_t activations;
  long activation_bytes, batch, count, microseconds;
  Slice tensors[kMostTensors];
};

// The stand-in's own calls.
struct Standin {
  CUresult (*allocate)(CUdeviceptr *, std::size_t);
  CUresult (*release)(CUdeviceptr);
  int (*infer)(CUstream, const Inference *);
  void *(*execution_new)();
  void (*execution_changed)(void *), (*execution_delete)(void *), (*violation)(const char *);
  int (*check_current)(const char *);
};

const Standin &standin() {
  static const Standin found = [] {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    Standin made{};
    const auto find = [library](auto &function, const char *name) {
      *reinterpret_cast<void **>(&function) = dlsym(library, name);
      if (function == nullptr) std::fprintf(stderr, "the stand-in has no %s\n", name), std::abort();
    };
    find(made.allocate, "cuMemAlloc_v2"), find(made.release, "cuMemFree_v2"), find(made.infer, "standin_infer");
    find(made.execution_new, "standin_execution_new"), find(made.execution_changed, "standin_execution_changed");
    find(made.execution_delete, "standin_execution_delete"), find(made.violation, "standin_violation");
    find(made.check_current, "standin_check_current");
    return made;
  }();
  return found;
}

struct Tensor {
  std::string name;
  DataType type;
  int number;  // by which the stand-in's kernel knows the type
  std::vector<std::int64_t> shape;
  long elements() const {
    long made = 1;
    for (const std::int64_t size : shape) made *= static_cast<long>(size);
    return made;
  }
};

struct Network {
  std::vector<Tensor> tensors;  // the input first
  std::vector<std::vector<std::int64_t>> profiles;
  long activation_bytes(std::size_t profile) const { return kActivationBytes * profiles[profile][2]; }
};

std::int64_t number(const wrn::Json &value) { return std::atoll(value.number()->text.c_str()); }

Tensor tensor_of(const wrn::Json &record) {
  static const std::map<std::string, std::pair<DataType, int>> kTypes = {{"FLOAT", {DataType::kFLOAT, 0}},
                                                                         {"UINT8", {DataType::kUINT8, 1}},
                                                                         {"INT32", {DataType::kINT32, 2}},
                                                                         {"INT64", {DataType::kINT64, 3}},
                                                                         {"HALF", {DataType::kHALF, 0}}};
  const wrn::Json::Object &fields = *record.object();
  const auto &[type, kind] = kTypes.at(*fields.find("dtype")->second.string());
  Tensor made{*fields.find("name")->second.string(), type, kind, {}};
  for (const wrn::Json &size : *fields.find("shape")->second.array()) made.shape.push_back(number(size));
  return made;
}

// The network of a plan's text; throws if it is none.
Network network_of(const std::string &text) {
  const wrn::Json record = wrn::Json::parse(text);
  if (record.object() == nullptr) throw wrn::JsonError{"no record"};
  const wrn::Json::Object &fields = *record.object();
  Network made;
  made.tensors.push_back(tensor_of(fields.find("source")->second));
  for (const wrn::Json &output : *fields.find("outputs")->second.array()) made.tensors.push_back(tensor_of(output));
  for (const wrn::Json &profile : *fields.find("profiles")->second.array()) {
    const wrn::Json::Array &sizes = *profile.array();
    made.profiles.push_back({number(sizes[0]), number(sizes[1]), number(sizes[2])});
  }
  return made;
}

Dims dims_of(std::int64_t batch, const std::vector<std::int64_t> &shape) {
  Dims made{};
  made.nbDims = static_cast<int>(shape.size()) + 1, made.d[0] = batch;
  for (std::size_t at = 0; at < shape.size(); ++at) made.d[at + 1] = shape[at];
  return made;
}

#ifdef TRT_MAJOR_RTX
class Cache final : public nvinfer1::IRuntimeCache, RuntimeCacheStubs {
 public:
  Cache() { mImpl = this; }
};
#endif

class Config final : public nvinfer1::IRuntimeConfig, RuntimeConfigStubs {
 public:
  Config() { mImpl = this; }
  void setExecutionContextAllocationStrategy(Strategy given) noexcept override { strategy = given; }
#ifdef TRT_MAJOR_RTX
  nvinfer1::IRuntimeCache *createRuntimeCache() const noexcept override { return new Cache; }
  bool setRuntimeCache(const nvinfer1::IRuntimeCache &) noexcept override { return true; }
  void setDynamicShapesKernelSpecializationStrategy(
      nvinfer1::DynamicShapesKernelSpecializationStrategy given) noexcept override {
    eager = given == nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER;
  }
  bool setCudaGraphStrategy(nvinfer1::CudaGraphStrategy given) noexcept override {
    captures = given == nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE;
    return true;
  }
#endif
  Strategy strategy = Strategy::kSTATIC;
  bool captures = false, eager = false;
};

class ExecutionContext final : public nvinfer1::IExecutionContext, ExecutionContextStubs {
 public:
  ExecutionContext(const Network &network, nvinfer1::ILogger &logger, Strategy strategy, bool captures)
      : network_(network), logger_(logger), strategy_(strategy), captures_(captures),
        execution_(standin().execution_new()) {
    mImpl = this;
    if (strategy != Strategy::kUSER_MANAGED) standin().violation("an execution context with memory of its own");
  }
  ~ExecutionContext() override { standin().execution_delete(execution_); }

  bool setOptimizationProfileAsync(std::int32_t profile, cudaStream_t) noexcept override {
    const Alone alone(*this, "setOptimizationProfileAsync");
    if (standin().check_current("setOptimizationProfileAsync") != 0) return false;
    if (profile < 0 || static_cast<std::size_t>(profile) >= network_.profiles.size())
      return refuse("there is no such profile");
    profile_ = static_cast<std::size_t>(profile), batch_ = 0;
    changed();
    return true;
  }

  bool setInputShape(const char *name, const Dims &dims) noexcept override {
    const Alone alone(*this, "setInputShape");
    const Tensor &source = network_.tensors.front();
    const auto &profile = network_.profiles[profile_];
    if (name != source.name) return refuse(std::string(name) + " is not an input");
    const std::vector<std::int64_t> shape(dims.d + 1, dims.d + dims.nbDims);
    if (shape != source.shape || dims.d[0] < profile[0] || dims.d[0] > profile[2])
      return refuse("a batch of " + std::to_string(dims.d[0]) + " does not satisfy the profile");
    if (batch_ != dims.d[0]) batch_ = dims.d[0], prepared_ = false, changed();
    return true;
  }

  bool setTensorAddress(const char *name, void *data) noexcept override {
    const Alone alone(*this, "setTensorAddress");
    const auto address = reinterpret_cast<std::uint64_t>(data);
    if (address % kAlignment != 0 || state().fail("address")) return refuse("the address is not a multiple of 256");
    for (const Tensor &tensor : network_.tensors)
      if (tensor.name == name) {
        if (addresses_[name] != address) addresses_[name] = address, changed();
        return true;
      }
    return refuse(std::string("there is no tensor ") + name);
  }

  void setDeviceMemoryV2(void *memory, std::int64_t size) noexcept override {
    const Alone alone(*this, "setDeviceMemoryV2");
    const auto address = reinterpret_cast<std::uint64_t>(memory);
    if (strategy_ != Strategy::kUSER_MANAGED || address % kAlignment != 0 ||
        size < network_.activation_bytes(profile_))
      return standin().violation("setDeviceMemoryV2: expected enough memory, aligned, for a context without its own");
    memory_ = address, memory_bytes_ = size;
    changed();
  }

  bool enqueueV3(cudaStream_t stream) noexcept override {
    const Alone alone(*this, "enqueueV3");
    if (state().fail("enqueue")) return refuse("it was made to fail");
    if (batch_ == 0 || addresses_.size() != network_.tensors.size()) return refuse("a shape or an address is not set");
    if (memory_bytes_ < network_.activation_bytes(profile_)) return refuse("no device memory is set, or too little");
    if (!prepare()) return refuse("the first inference of a shape allocates, which failed");
    const char *time = std::getenv("STANDIN_KERNEL_US");
    Inference it{execution_, memory_, network_.activation_bytes(profile_), static_cast<long>(batch_),
                 static_cast<long>(network_.tensors.size()), time == nullptr ? 0 : std::atol(time), {}};
    for (std::size_t at = 0; at < network_.tensors.size(); ++at) {
      const Tensor &tensor = network_.tensors[at];
      it.tensors[at] = {addresses_.at(tensor.name), tensor.elements(), tensor.number};
    }
    if (standin().infer(stream, &it) != 0) return refuse("the kernel could not be started");
    const std::lock_guard<std::mutex> guard(state().lock);
    state().batches.push_back(static_cast<long>(batch_));
    return true;
  }

 private:
  // Notes if two threads are in one context: TensorRT allows one.
  struct Alone {
    Alone(ExecutionContext &context, const char *call) : entered(context.entered_) {
      if (entered.exchange(true))
        standin().violation((std::string("two threads in one execution context, one in ") + call).c_str());
    }
    ~Alone() { entered = false; }
    std::atomic<bool> &entered;
  };

  // The work of a first run after a new shape, which allocates and so cannot be captured.
  bool prepare() {
    if (prepared_) {
      if (captures_ && captured_.insert(batch_).second) ++state().captures;  // TensorRT-RTX's own
      return true;
    }
    CUdeviceptr scratch = 0;
    if (standin().allocate(&scratch, kAlignment) != CUDA_SUCCESS) return false;
    standin().release(scratch);
    return prepared_ = true;
  }
  void changed() { standin().execution_changed(execution_); }
  bool refuse(const std::string &text) {
    logger_.log(nvinfer1::ILogger::Severity::kERROR, ("IExecutionContext: " + text).c_str());
    return false;
  }

  const Network &network_;
  nvinfer1::ILogger &logger_;
  Strategy strategy_;
  bool captures_, prepared_ = false;
  void *execution_;
  std::size_t profile_ = 0;
  std::int64_t batch_ = 0, memory_bytes_ = 0;
  std::uint64_t memory_ = 0;
  std::map<std::string, std::uint64_t> addresses_;
  std::set<std::int64_t> captured_;
  std::atomic<bool> entered_{false};
};

class Engine final : public nvinfer1::ICudaEngine, CudaEngineStubs {
 public:
  Engine(Network network, nvinfer1::ILogger &logger, CUdeviceptr weights)
      : network_(std::move(network)), logger_(logger), weights_(weights) {
    mImpl = this;
    ++state().engines;
  }
  ~Engine() override {
    --state().engines;
    standin().release(weights_);
  }

  std::int32_t getNbIOTensors() const noexcept override { return static_cast<std::int32_t>(network_.tensors.size()); }
  const char *getIOTensorName(std::int32_t index) const noexcept override {
    return network_.tensors[static_cast<std::size_t>(index)].name.c_str();
  }
  nvinfer1::TensorIOMode getTensorIOMode(const char *name) const noexcept override {
    return &find(name) == &network_.tensors.front() ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
  }
  DataType getTensorDataType(const char *name) const noexcept override { return find(name).type; }
  Dims getTensorShape(const char *name) const noexcept override { return dims_of(-1, find(name).shape); }
  std::int32_t getNbOptimizationProfiles() const noexcept override {
    return static_cast<std::int32_t>(network_.profiles.size());
  }
  Dims getProfileShape(
      const char *name, std::int32_t profile, nvinfer1::OptProfileSelector which) const noexcept override {
    const auto at = static_cast<std::size_t>(which);
    return dims_of(network_.profiles[static_cast<std::size_t>(profile)][at], find(name).shape);
  }
  std::int64_t getDeviceMemorySizeV2() const noexcept override {
    long most = 0;
    for (std::size_t at = 0; at < network_.profiles.size(); ++at) most = std::max(most, network_.activation_bytes(at));
    return most;
  }
  nvinfer1::IExecutionContext *createExecutionContext(Strategy strategy) noexcept override {
    return make(strategy, false);
  }
  nvinfer1::IRuntimeConfig *createRuntimeConfig() noexcept override { return new Config; }
  nvinfer1::IExecutionContext *createExecutionContextWithRuntimeConfig(
      nvinfer1::IRuntimeConfig *config) noexcept override {
    const auto &given = *static_cast<Config *>(config);
    if (!given.eager) standin().violation("an execution context that compiles kernels later");
    return make(given.strategy, given.captures);
  }

 private:
  const Tensor &find(const char *name) const {
    for (const Tensor &tensor : network_.tensors)
      if (tensor.name == name) return tensor;
    standin().violation((std::string("there is no tensor ") + name).c_str());
    return network_.tensors.front();
  }
  nvinfer1::IExecutionContext *make(Strategy strategy, bool captures) {
    if (standin().check_current("createExecutionContext") != 0 || state().fail("context")) {
      logger_.log(nvinfer1::ILogger::Severity::kERROR, "no execution context");
      return nullptr;
    }
    return new ExecutionContext(network_, logger_, strategy, captures);
  }

  const Network network_;
  nvinfer1::ILogger &logger_;
  CUdeviceptr weights_;
};

class Runtime final : public nvinfer1::IRuntime, RuntimeStubs {
 public:
  explicit Runtime(nvinfer1::ILogger &logger) : logger_(logger) {
    mImpl = this;
    ++state().runtimes;
  }
  ~Runtime() override { --state().runtimes; }

  void setEngineHostCodeAllowed(bool allowed) noexcept override { host_code_ = allowed; }
  bool getEngineHostCodeAllowed() const noexcept override { return host_code_; }

  nvinfer1::ICudaEngine *deserializeCudaEngine(const void *blob, std::size_t size) noexcept override try {
    if (standin().check_current("deserializeCudaEngine") != 0) return refuse("no CUDA context");
    if (state().fail("deserialize")) return refuse("it was made to fail");
    std::string text(static_cast<const char *>(blob), size);
#ifdef TRT_MAJOR_RTX
    text.erase(0, 24);
#endif
    Network network = network_of(text);
    CUdeviceptr weights = 0;
    if (standin().allocate(&weights, kWeightBytes) != CUDA_SUCCESS) return refuse("no memory for the weights");
    return new Engine(std::move(network), logger_, weights);
  } catch (const wrn::JsonError &) {
    return refuse("no plan");
  }
#ifdef TRT_MAJOR_RTX
  nvinfer1::EngineValidity getEngineValidity(
      const void *, std::int64_t, std::uint64_t *reasons) const noexcept override {
    *reasons = state().fail("unsupported")  ? static_cast<std::uint64_t>(Reason::kUNSUPPORTED_CC)
               : state().fail("malformed") ? static_cast<std::uint64_t>(Reason::kMALFORMED_ENGINE)
                                            : 0;
    return *reasons != 0 ? nvinfer1::EngineValidity::kINVALID : nvinfer1::EngineValidity::kVALID;
  }
#endif

 private:
#ifdef TRT_MAJOR_RTX
  using Reason = nvinfer1::EngineInvalidityDiagnostics;
#endif
  nvinfer1::ICudaEngine *refuse(const char *text) {
    logger_.log(nvinfer1::ILogger::Severity::kERROR, text);
    return nullptr;
  }

  nvinfer1::ILogger &logger_;
  bool host_code_ = false;
};

// Part `at` of the version that the variable or the build says.
std::int32_t version_part(int at) {
  const char *text = std::getenv("STANDIN_TENSORRT");
  int parts[4] = {0, 0, 0, 0};
  std::sscanf(text == nullptr ? WRN_FAKE_VERSION : text, "%d.%d.%d.%d", parts, parts + 1, parts + 2, parts + 3);
  return parts[at];
}

}  // namespace

extern "C" {

std::int32_t getInferLibMajorVersion() noexcept { return version_part(0); }
std::int32_t getInferLibMinorVersion() noexcept { return version_part(1); }
std::int32_t getInferLibPatchVersion() noexcept { return version_part(2); }
std::int32_t getInferLibBuildVersion() noexcept { return version_part(3); }

void *createInferRuntime_INTERNAL(void *logger, std::int32_t) noexcept {
  auto &given = *static_cast<nvinfer1::ILogger *>(logger);
  if (!state().fail("runtime")) return static_cast<nvinfer1::IRuntime *>(new Runtime(given));
  given.log(nvinfer1::ILogger::Severity::kERROR, "no runtime");
  return nullptr;
}

// The call fails once, after it has succeeded `after` times.
void fake_fail(const char *call, int after) {
  const std::lock_guard<std::mutex> guard(state().lock);
  state().fails[call] = after;
}

// The batches of the inferences since the last call; returns how many there are, of which `room` are written.
int fake_batches(long *into, int room) {
  const std::lock_guard<std::mutex> guard(state().lock);
  const int all = static_cast<int>(state().batches.size());
  for (int at = 0; at < all && at < room; ++at) into[at] = state().batches[static_cast<std::size_t>(at)];
  state().batches.clear();
  return all;
}

// Runtimes and engines that are alive, and graphs that TensorRT-RTX has captured itself.
void fake_alive(int *counts) {
  counts[0] = state().runtimes, counts[1] = state().engines, counts[2] = state().captures;
}

}  // extern "C"
