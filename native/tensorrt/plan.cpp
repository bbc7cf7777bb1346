#include "plan.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <set>
#include <utility>

#include "error.hpp"
#include "execution.hpp"
#include "logger.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

constexpr std::uintptr_t kAlignment = 256;  // bytes: TensorRT's documentation, IExecutionContext::setTensorAddress
constexpr const char *kRebuild = "; rebuild it from this bundle";

struct Kind {
  nvinfer1::DataType theirs;
  const char *name;
  std::int32_t ours;  // 0: no type of a bundle's tensors
};
constexpr Kind kKinds[] = {
    {nvinfer1::DataType::kFLOAT, "float32", WRN_FLOAT32}, {nvinfer1::DataType::kUINT8, "uint8", WRN_UINT8},
    {nvinfer1::DataType::kINT32, "int32", WRN_INT32},     {nvinfer1::DataType::kINT64, "int64", WRN_INT64},
    {nvinfer1::DataType::kHALF, "float16", 0},            {nvinfer1::DataType::kBF16, "bfloat16", 0},
    {nvinfer1::DataType::kINT8, "int8", 0},               {nvinfer1::DataType::kBOOL, "bool", 0}};

const char *name_of(std::int32_t dtype) {
  for (const Kind &kind : kKinds)
    if (kind.ours == dtype) return kind.name;
  return "another type";
}

// As in "('N', 3, 32, 32)".
std::string batch_of(const std::vector<std::int64_t> &shape) {
  std::string text = "('N',";
  for (std::size_t at = 0; at < shape.size(); ++at)
    text += (at == 0 ? " " : ", ") + std::to_string(shape[at]);
  return text + ")";
}

// As in "[(1, 1, 1), (2, 8, 16)]".
std::string list_of(const std::vector<Profile> &profiles) {
  std::vector<std::string> each;
  for (const Profile &profile : profiles) each.push_back(tuple({profile.minimum, profile.optimum, profile.maximum}));
  return "[" + joined(each) + "]";
}

#ifdef TRT_MAJOR_RTX
// The header of a TensorRT-RTX plan, found by experiment with 1.7.1: magic, then the plan's length at byte 16.
void check_whole(const std::string &plan) {
  if (plan.compare(0, 4, "vtrt") != 0)
    throw Error(WRN_ERROR, "the plan starts with b" + quoted(plan.substr(0, 4)) + ", not with b'vtrt': rebuild it");
  std::uint64_t length = 0;
  if (plan.size() >= 24) std::memcpy(&length, plan.data() + 16, sizeof length);
  if (length != plan.size())
    throw Error(WRN_ERROR, "the plan has " + std::to_string(plan.size()) + " bytes and declares " +
                               (plan.size() < 24 ? "None" : std::to_string(length)) + ": rebuild it");
}

// Throws the reasons of TensorRT-RTX why it cannot run a plan here.
void check_validity(const nvinfer1::IRuntime &runtime, const std::string &plan) {
  using Reason = nvinfer1::EngineInvalidityDiagnostics;
  constexpr std::pair<Reason, const char *> kReasons[] = {
      {Reason::kVERSION_MISMATCH, "it was built by another version of TensorRT-RTX"},
      {Reason::kUNSUPPORTED_CC,
       "this GPU is not one of those it was built for; build it with --compute-capability"},
      {Reason::kOLD_CUDA_DRIVER, "the CUDA driver is too old; update it"},
      {Reason::kOLD_CUDA_RUNTIME, "the CUDA runtime is too old; update it"},
      {Reason::kINSUFFICIENT_GPU_MEMORY, "the GPU has too little memory; free some"},
      {Reason::kCUDA_ERROR, "CUDA cannot be used; look at the GPU and its driver with nvidia-smi"}};
  std::uint64_t reasons = 0;
  const auto size = static_cast<std::int64_t>(plan.size());
  if (runtime.getEngineValidity(plan.data(), size, &reasons) != nvinfer1::EngineValidity::kINVALID) return;
  const auto has = [reasons](Reason reason) { return (reasons & static_cast<std::uint64_t>(reason)) != 0; };
  if (has(Reason::kMALFORMED_ENGINE)) throw Error(WRN_ERROR, "TensorRT-RTX reports a damaged plan: rebuild it");
  std::vector<std::string> causes;
  for (const auto &[reason, text] : kReasons)
    if (has(reason)) causes.emplace_back(text);
  if (causes.empty()) causes.emplace_back("no usable GPU and driver");
  throw Error(WRN_MACHINE,
              "TensorRT-RTX cannot run the plan here: " + joined(causes, "; ") + "; or rebuild it here");
}
#else
void check_whole(const std::string &plan) {
  if (plan.empty() || plan.compare(0, 4, "vtrt") == 0)
    throw Error(WRN_ERROR, std::string("the plan ") + (plan.empty() ? "is empty" : "is for TensorRT-RTX") +
                               ": expected one for TensorRT; rebuild it");
}

void check_validity(const nvinfer1::IRuntime &, const std::string &) {}
#endif

}  // namespace

Plan::Plan(std::unique_ptr<nvinfer1::IRuntime> runtime, const std::string &bytes, const PlanFacts &facts,
           const Model &model, const PlanOptions &options)
    : tensors_(model.outputs), profiles_(facts.profiles), smallest_(smallest_batch(facts.profiles)),
      largest_(largest_batch(facts.profiles)),
      graphs_(options.graphs), runtime_(std::move(runtime)) {
  tensors_.insert(tensors_.begin(), facts.input);
  check_whole(bytes);
  check_validity(*runtime_, bytes);
  if (facts.version_compatible && !facts.exclude_lean_runtime) {
    if (!options.host_code)
      throw Error(WRN_ERROR,
                  "the plan is version-compatible, so it contains code for this machine's processor, which is not run "
                  "unless you allow it: if you trust who built it, give --allow-host-code, or set the option "
                  "allow_host_code");
    runtime_->setEngineHostCodeAllowed(true);
  }
  engine_.reset(runtime_->deserializeCudaEngine(bytes.data(), bytes.size()));
  if (engine_ == nullptr) {
    const auto gpu = find_gpu();
    const std::string warning = gpu ? plan_warning(facts, *gpu) : "";
    throw Error(WRN_MACHINE, "the plan cannot be deserialized on this GPU" +
                                 (warning.empty() ? "" : " (" + warning + ")") + logged() + ": rebuild it here");
  }
  check_tensors(*engine_);
  check_profiles(*engine_);
  activation_bytes_ = static_cast<std::size_t>(std::max<std::int64_t>(0, engine_->getDeviceMemorySizeV2()));
#ifdef TRT_MAJOR_RTX
  for (const bool kept : {false, true}) {
    std::unique_ptr<nvinfer1::IRuntimeConfig> &config = configs_[kept ? 1 : 0];
    config.reset(engine_->createRuntimeConfig());
    if (config == nullptr)
      throw Error(WRN_MACHINE, "TensorRT cannot make an execution context" + logged() + ": free GPU memory");
    config->setExecutionContextAllocationStrategy(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
    // Each shape's kernels are compiled before its first run: otherwise generic ones run until then.
    config->setDynamicShapesKernelSpecializationStrategy(
        nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    const bool captures = kept && options.graphs;
    config->setCudaGraphStrategy(captures ? nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE
                                          : nvinfer1::CudaGraphStrategy::kDISABLED);
    if (compiled_ == nullptr) compiled_.reset(config->createRuntimeCache());
    if (compiled_ != nullptr) config->setRuntimeCache(*compiled_);
  }
#endif
}

Plan::~Plan() {
  const auto forget = [this] {
#ifdef TRT_MAJOR_RTX
    for (auto &config : configs_) config.reset();
    compiled_.reset();
#endif
    engine_.reset();
    runtime_.reset();
  };
  try {
    const OnGpu current;
    forget();
  } catch (const Error &) {  // the GPU is lost, and its memory with it
    forget();
  }
}

void Plan::check_device(const DeviceBatch &batch) const {
  const auto check = [](const void *memory, const Tensor &tensor) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if (address % kAlignment == 0) return;
    char shown[24];
    std::snprintf(shown, sizeof shown, "0x%llx", static_cast<unsigned long long>(address));
    throw Error(WRN_ERROR, "the device array for " + tensor.name + " starts at " + shown + ": expected a multiple of " +
                               std::to_string(kAlignment) + "; copy it, or send at most the plan's largest batch");
  };
  check(batch.images, tensors_.front());
  for (std::size_t at = 0; at < batch.outputs.size(); ++at) check(batch.outputs[at], tensors_[at + 1]);
  profile_for(batch.count);
}

std::unique_ptr<Context> Plan::open_context() { return std::make_unique<Execution>(*this); }

PlanContext Plan::new_context(std::int64_t batch, CUstream stream, CUdeviceptr activations, bool kept) {
  const auto profile = static_cast<std::int32_t>(profile_for(batch));
  std::unique_ptr<nvinfer1::IExecutionContext> context;
#ifdef TRT_MAJOR_RTX
  context.reset(engine_->createExecutionContext(configs_[kept ? 1 : 0].get()));
#else
  static_cast<void>(kept);
  context.reset(engine_->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
#endif
  if (context == nullptr || !context->setOptimizationProfileAsync(profile, stream))
    throw Error(WRN_MACHINE, "TensorRT cannot make an execution context" + logged() + ": free GPU memory");
  if (activations != 0)
    context->setDeviceMemoryV2(reinterpret_cast<void *>(activations), static_cast<std::int64_t>(activation_bytes_));
  return {std::move(context), tensors_};
}

void Plan::check_tensors(const nvinfer1::ICudaEngine &engine) const {
  std::set<std::string> inputs, outputs, wanted;
  std::vector<std::string> names, needed;
  for (std::int32_t at = 0; at < engine.getNbIOTensors(); ++at) {
    names.emplace_back(engine.getIOTensorName(at));
    const bool in = engine.getTensorIOMode(names.back().c_str()) == nvinfer1::TensorIOMode::kINPUT;
    (in ? inputs : outputs).insert(names.back());
  }
  for (const Tensor &tensor : tensors_) needed.push_back(tensor.name);
  wanted.insert(needed.begin() + 1, needed.end());
  if (inputs != std::set<std::string>{needed.front()} || outputs != wanted)
    throw Error(WRN_ERROR,
                "the plan's tensors are " + joined(names) + ": the bundle's are " + joined(needed) + kRebuild);
  for (const Tensor &tensor : tensors_) {
    const nvinfer1::DataType type = engine.getTensorDataType(tensor.name.c_str());
    const auto *kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                    [type](const Kind &each) { return each.theirs == type; });
    const nvinfer1::Dims dims = engine.getTensorShape(tensor.name.c_str());
    const std::int32_t rank = std::max(1, dims.nbDims);
    const std::vector<std::int64_t> shape(dims.d + 1, dims.d + rank);
    if (kind == std::end(kKinds) || kind->ours != tensor.dtype || shape != tensor.shape)
      throw Error(WRN_ERROR, "the plan's " + tensor.name + " is " +
                                 (kind != std::end(kKinds) ? kind->name : "another type") + " " + batch_of(shape) +
                                 ": the bundle says " + name_of(tensor.dtype) + " " + batch_of(tensor.shape) +
                                 kRebuild);
  }
}

void Plan::check_profiles(const nvinfer1::ICudaEngine &engine) const {
  using Selector = nvinfer1::OptProfileSelector;
  const char *name = tensors_.front().name.c_str();
  std::vector<Profile> found;
  for (std::int32_t at = 0; at < engine.getNbOptimizationProfiles(); ++at)
    found.push_back({engine.getProfileShape(name, at, Selector::kMIN).d[0],
                     engine.getProfileShape(name, at, Selector::kOPT).d[0],
                     engine.getProfileShape(name, at, Selector::kMAX).d[0]});
  const auto same = [](const Profile &a, const Profile &b) {
    return a.minimum == b.minimum && a.optimum == b.optimum && a.maximum == b.maximum;
  };
  if (!std::equal(found.begin(), found.end(), profiles_.begin(), profiles_.end(), same))
    throw Error(WRN_ERROR, "the plan's batches are " + list_of(found) + ", and the manifest says " +
                               list_of(profiles_) + ": rebuild it");
}

}  // namespace wrn
