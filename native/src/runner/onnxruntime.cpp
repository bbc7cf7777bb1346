// onnxruntime.cpp: runs a graph with the libonnxruntime that the process or the system has, from 1.17 on; never linked.
#include <dlfcn.h>
#include <stdlib.h>

#include <array>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "error.hpp"
#include "onnxruntime_c_api.h"
#include "runner/engine.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

constexpr std::uint32_t kApi = 17;  // OrtApi grows at its end alone: newer libraries have what this one had
static_assert(kApi <= ORT_API_VERSION, "the headers of ONNX Runtime are too old: expected those of 1.17 or newer");
constexpr std::size_t kMostOutputs = 16;

struct Library {
  const OrtApi *api = nullptr;
  OrtEnv *env = nullptr;
};

[[noreturn]] void missing(const std::string &why) {
  throw Error(WRN_MACHINE, "cannot load ONNX Runtime (" + why +
                               "): install libonnxruntime.so.1 of 1.17 or newer where the loader finds it or beside "
                               "this library, or name its file in WRN_RUNNER_ONNXRUNTIME");
}

void *open_library() {
  const char *named = getenv("WRN_RUNNER_ONNXRUNTIME");
  if (named != nullptr && *named != '\0') {
    void *found = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (found == nullptr) missing(dlerror());
    return found;
  }
  // Looked for beside this library too, whose RUNPATH is its own folder.
  void *found = dlopen("libonnxruntime.so.1", RTLD_NOW | RTLD_LOCAL);
  if (found == nullptr) missing(dlerror());
  return found;
}

// Loaded by the first call and never unloaded: its threads may run until the process ends.
const Library &library() {
  static std::mutex starting;
  static Library opened;
  const std::lock_guard<std::mutex> lock(starting);
  if (opened.api != nullptr) return opened;
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // it is read as the library is loaded
  void *handle = open_library();
  const OrtApiBase *(*base)() = nullptr;
  *reinterpret_cast<void **>(&base) = dlsym(handle, "OrtGetApiBase");
  if (base == nullptr) missing("no OrtGetApiBase in it");
  const OrtApi *api = base()->GetApi(kApi);
  if (api == nullptr) missing(std::string("it is ") + base()->GetVersionString());
  OrtEnv *env = nullptr;
  if (OrtStatus *status = api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "wrn_runner", &env)) {
    const std::string text = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    missing(text);
  }
  if (OrtStatus *status = api->DisableTelemetryEvents(env)) api->ReleaseStatus(status);
  opened = {api, env};
  return opened;
}

// Releases what the C API made.
template <class T>
struct Held {
  T *held = nullptr;
  void(ORT_API_CALL *release)(T *) = nullptr;
  Held() = default;
  Held(T *what, void(ORT_API_CALL *how)(T *)) : held(what), release(how) {}
  Held(Held &&other) noexcept : held(std::exchange(other.held, nullptr)), release(other.release) {}
  Held &operator=(Held &&other) noexcept {
    std::swap(held, other.held), std::swap(release, other.release);
    return *this;
  }
  ~Held() {
    if (held != nullptr) release(held);
  }
};

struct Kind {
  std::int32_t ours;
  ONNXTensorElementDataType theirs;
};
constexpr Kind kKinds[] = {{WRN_UINT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                           {WRN_INT64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
                           {WRN_FLOAT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}};

ONNXTensorElementDataType element(std::int32_t dtype) {
  for (const Kind &kind : kKinds)
    if (kind.ours == dtype) return kind.theirs;
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

class Session final : public Engine {
 public:
  Session(const std::string &graph, const Model &model, std::int32_t threads, const std::string &name);

  std::unique_ptr<Context> open_context() override;
  const Tensor &input() const override { return input_; }

 private:
  friend class Run;

  // Throws the text of a failed call: `before`, what ONNX Runtime says, and `after`.
  void check(OrtStatus *status, const std::string &before, const char *after) const {
    if (status == nullptr) return;
    const std::string text = ort_.GetErrorMessage(status);
    ort_.ReleaseStatus(status);
    throw Unfit(before + " (" + text + ")" + after);
  }
  void check_graph(OrtStatus *status) const {
    check(status, "the graph is not the bundle's", ": export the model again");
  }
  void check_tensor(std::size_t index, bool is_input, const Tensor &expected) const;

  const OrtApi &ort_;
  Held<OrtSession> session_;
  Held<OrtMemoryInfo> memory_;
  Tensor input_;
  std::vector<Tensor> outputs_;
};

// Bound memory for the last batch size, as the Python runner keeps it.
class Run final : public Context {
 public:
  explicit Run(const Session &session) : session_(session), results_(session.outputs_.size()) {}

  void infer(const void *images, std::int64_t count, std::size_t wanted, const void **results) override {
    if (wanted > kMostOutputs) throw Error(WRN_USAGE, std::to_string(wanted) + " outputs: expected at most 16");
    if (count != count_) values_.clear(), count_ = count;
    for (std::size_t at = values_.size(); at < wanted; ++at) {
      std::vector<char> &room = results_[at];
      room.resize(static_cast<std::size_t>(count) * session_.outputs_[at].image_bytes);
      values_.push_back(value(session_.outputs_[at], room.data()));
    }
    const Held<OrtValue> source = value(session_.input_, const_cast<void *>(images));  // it is only read
    const char *name = session_.input_.name.c_str();
    std::array<const char *, kMostOutputs> names{};
    std::array<OrtValue *, kMostOutputs> values{};
    for (std::size_t at = 0; at < wanted; ++at) {
      names[at] = session_.outputs_[at].name.c_str(), values[at] = values_[at].held;
      results[at] = results_[at].data();
    }
    session_.check(session_.ort_.Run(session_.session_.held, nullptr, &name, &source.held, 1, names.data(), wanted,
                                     values.data()),
                   "ONNX Runtime cannot run the graph", ": export the model again");
  }

 private:
  Held<OrtValue> value(const Tensor &tensor, void *data) {
    shape_.assign(1, count_);
    shape_.insert(shape_.end(), tensor.shape.begin(), tensor.shape.end());
    OrtValue *made = nullptr;
    session_.check_graph(session_.ort_.CreateTensorWithDataAsOrtValue(
        session_.memory_.held, data, tensor.image_bytes * static_cast<std::size_t>(count_), shape_.data(), shape_.size(),
        element(tensor.dtype), &made));
    return {made, session_.ort_.ReleaseValue};
  }

  const Session &session_;
  std::int64_t count_ = 0;
  std::vector<std::int64_t> shape_;  // of the value that is made
  std::vector<std::vector<char>> results_;
  std::vector<Held<OrtValue>> values_;  // over results_, for `count_` images
};

Session::Session(const std::string &graph, const Model &model, std::int32_t threads, const std::string &name)
    : ort_(*library().api), input_(model.input), outputs_(model.outputs) {
  const std::string cannot = "ONNX Runtime cannot load " + name;
  const char *const remedy = ": export the model again";
  OrtSessionOptions *made = nullptr;
  check(ort_.CreateSessionOptions(&made), cannot, remedy);
  const Held<OrtSessionOptions> options(made, ort_.ReleaseSessionOptions);
  check(ort_.SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL), cannot, remedy);
  if (threads > 0) check(ort_.SetIntraOpNumThreads(made, threads), cannot, remedy);
  OrtSession *session = nullptr;
  check(ort_.CreateSessionFromArray(library().env, graph.data(), graph.size(), made, &session), cannot, remedy);
  session_ = {session, ort_.ReleaseSession};
  OrtMemoryInfo *memory = nullptr;
  check(ort_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), cannot, remedy);
  memory_ = {memory, ort_.ReleaseMemoryInfo};
  std::size_t inputs = 0, outputs = 0;
  check_graph(ort_.SessionGetInputCount(session, &inputs));
  check_graph(ort_.SessionGetOutputCount(session, &outputs));
  if (inputs != 1 || outputs != outputs_.size())
    throw Unfit("the graph is not the bundle's (" + std::to_string(inputs) + " inputs, " + std::to_string(outputs) +
                " outputs): export the model again");
  check_tensor(0, true, input_);
  for (std::size_t at = 0; at < outputs; ++at) check_tensor(at, false, outputs_[at]);
}

std::unique_ptr<Context> Session::open_context() { return std::make_unique<Run>(*this); }

// Checks that the graph's tensor is the manifest's: what its sizes were computed from.
void Session::check_tensor(std::size_t index, bool is_input, const Tensor &expected) const {
  OrtAllocator *allocator = nullptr;
  check_graph(ort_.GetAllocatorWithDefaultOptions(&allocator));
  char *made = nullptr;
  const auto get_name = is_input ? ort_.SessionGetInputName : ort_.SessionGetOutputName;
  check_graph(get_name(session_.held, index, allocator, &made));
  const std::string name = made;
  allocator->Free(allocator, made);
  OrtTypeInfo *type = nullptr;
  check_graph((is_input ? ort_.SessionGetInputTypeInfo : ort_.SessionGetOutputTypeInfo)(session_.held, index, &type));
  const Held<OrtTypeInfo> held(type, ort_.ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo *info = nullptr;
  check_graph(ort_.CastTypeInfoToTensorInfo(type, &info));
  ONNXTensorElementDataType kind = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::vector<std::int64_t> shape;
  if (info != nullptr) {
    std::size_t rank = 0;
    check_graph(ort_.GetTensorElementType(info, &kind));
    check_graph(ort_.GetDimensionsCount(info, &rank));
    shape.resize(rank);
    check_graph(ort_.GetDimensions(info, shape.data(), rank));
  }
  bool fits = name == expected.name && kind == element(expected.dtype) && shape.size() == expected.shape.size() + 1;
  for (std::size_t axis = 1; fits && axis < shape.size(); ++axis)
    fits = shape[axis] == expected.shape[axis - 1] || (!is_input && shape[axis] < 0);
  if (!fits)
    throw Unfit("the graph is not the bundle's (" + name + " " + tuple(shape) + ", and not " + expected.name + " " +
                tuple(expected.shape) + " each): export the model again");
}

}  // namespace

std::unique_ptr<Engine> open_onnxruntime(
    const std::string &graph, const Model &model, std::int32_t threads, const std::string &name) {
  return std::make_unique<Session>(graph, model, threads, name);
}

}  // namespace wrn
