#include "runner/choice.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "error.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

struct Known {
  const char *name, *title;
  const char *flavor = nullptr;  // of TensorRT
  bool graphs = false;
};
// The backends of wrn-deploy, sorted: this library has one of them and can have TensorRT's, and a typing error in
// another is told from it.
constexpr Known kBackends[] = {
    {"onnxruntime", "ONNX Runtime CPU"},
    {"onnxruntime_cuda", "ONNX Runtime CUDA"},
    {"onnxruntime_cuda_graphs", "ONNX Runtime CUDA channels-last, as graphs"},
    {"onnxruntime_cuda_nhwc", "ONNX Runtime CUDA channels-last"},
    {"onnxruntime_rtx", "ONNX Runtime TensorRT-RTX"},
    {"onnxruntime_tensorrt", "ONNX Runtime TensorRT"},
    {"openvino", "OpenVINO CPU"},
    {"tensorrt", "TensorRT", "tensorrt", true},
    {"tensorrt_nographs", "TensorRT without graphs", "tensorrt", false},
    {"tensorrt_rtx", "TensorRT-RTX", "tensorrt_rtx", true},
    {"tensorrt_rtx_nographs", "TensorRT-RTX without graphs", "tensorrt_rtx", false},
    {"torch", "PyTorch CPU"},
    {"torch_channels_last", "PyTorch CPU channels-last"},
    {"torch_compile", "PyTorch CPU compiled"},
    {"torch_cuda", "PyTorch CUDA"},
    {"torch_cuda_channels_last", "PyTorch CUDA channels-last"},
    {"torch_cuda_compile", "PyTorch CUDA compiled"},
    {"torch_cuda_compile_graphs", "PyTorch CUDA compiled, as graphs"}};
constexpr const char *kPrecisions[] = {"fp32", "fp16", "int8", "bf16", "fp8"};
// What ONNX Runtime runs on a CPU, preferred first. int8 changes answers: it must be named.
constexpr const char *kArtifacts[][2] = {{"fp32", "onnx-fp32"}, {"int8", "onnx-int8-onnxruntime"}};
// Those of plans, preferred first.
constexpr const char *kOfPlans[] = {"fp16", "int8", "bf16", "fp8"};
// Tried in this order if no backend is named.
constexpr const char *kPreferred[] = {"tensorrt", "tensorrt_rtx", "onnxruntime"};
constexpr int kMostThreads = 1024;  // more is a mistake, for which libraries blame the graph

const Known &find_backend(const std::string &name) {
  const auto *found = std::find_if(std::begin(kBackends), std::end(kBackends),
                                   [&name](const Known &each) { return name == each.name; });
  if (found != std::end(kBackends)) return *found;
  std::vector<std::string> names;
  for (const Known &each : kBackends) names.emplace_back(each.name);
  throw Error(WRN_ERROR,
              "unknown backend " + quoted(name) + near_names(name, names) + ": expected one of " + joined(names));
}

// The choice of a backend at a precision, or its preferred one; nothing if it does not run that.
std::optional<Choice> at_precision(const Known &backend, const std::string &precision) {
  if (backend.flavor != nullptr) {
    const std::string wanted = precision.empty() ? kOfPlans[0] : precision;
    const bool runs = std::find(std::begin(kOfPlans), std::end(kOfPlans), wanted) != std::end(kOfPlans);
    if (!runs) return std::nullopt;
    const std::string key = "plan-" + wanted + "-" + backend.flavor;
    return Choice{backend.name, backend.title, wanted, key, backend.flavor, backend.graphs};
  }
  for (const auto &[name, artifact] : kArtifacts)
    if (precision.empty() || precision == name) return Choice{backend.name, backend.title, name, artifact, "", false};
  return std::nullopt;
}

[[noreturn]] void refuse(std::int32_t status, const Known &backend, const std::string &precision) {
  std::vector<std::string> runs;
  if (backend.flavor != nullptr)
    runs.assign(std::begin(kOfPlans), std::end(kOfPlans));
  else
    for (const auto &[name, artifact] : kArtifacts) runs.emplace_back(name);
  throw Error(status, std::string(backend.title) + " does not run " + precision + " here: expected one of " +
                          joined(runs));
}

}  // namespace

std::vector<Choice> choose(
    const Bundle &bundle, const std::string &backend, const std::string &precision, int threads) {
  const std::vector<std::string> precisions(std::begin(kPrecisions), std::end(kPrecisions));
  if (!precision.empty() && std::find(precisions.begin(), precisions.end(), precision) == precisions.end())
    throw Error(WRN_USAGE, "precision " + quoted(precision) + ": expected one of " + joined(precisions));
  if (precision.empty() && !backend.empty()) find_backend(backend);
  if (threads > kMostThreads)
    throw Error(WRN_USAGE, std::to_string(threads) + " threads: expected 1 to " + std::to_string(kMostThreads));
  if (backend.empty()) {
    std::vector<Choice> found;
    for (const char *name : kPreferred) {
      std::optional<Choice> choice = at_precision(find_backend(name), precision);
      if (choice && (choice->flavor.empty() || bundle.has(choice->artifact))) found.push_back(std::move(*choice));
    }
    if (found.empty()) refuse(WRN_MACHINE, find_backend("onnxruntime"), precision);
    return found;
  }
  const Known &named = find_backend(backend);
  if (named.flavor == nullptr && backend != "onnxruntime")
    throw Error(WRN_MACHINE, std::string(named.title) + " cannot run " +
                                 (precision.empty() ? bundle.folder() : precision) +
                                 ": this library has ONNX Runtime on a CPU alone; name the backend onnxruntime, or use "
                                 "the library of `wrn-deploy embed --python`");
  std::optional<Choice> choice = at_precision(named, precision);
  if (!choice) refuse(WRN_USAGE, named, precision);
  return {std::move(*choice)};
}

}  // namespace wrn
