#include "runner/arguments.hpp"

#include <iterator>

#include "error.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

constexpr const char *kDtypes = "WRN_UINT8, WRN_INT32, WRN_INT64, WRN_FLOAT16, WRN_FLOAT32";

}  // namespace

void usage(const std::string &text) { throw Error(WRN_USAGE, text); }

std::size_t size_of(const void *theirs, const char *name, std::size_t room) {
  if (theirs == nullptr) usage(std::string("the pointer to a ") + name + " is NULL");
  std::size_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  if (size < sizeof size || size > 65536)
    usage(std::string(name) + ".size is " + std::to_string(size) + ": expected sizeof(" + name + "), which is " +
          std::to_string(room));
  return size;
}

wrn_options take(const wrn_options *theirs) {
  wrn_options ours{};
  const std::size_t size = size_of(theirs, "wrn_options", sizeof ours);
  for (std::size_t at = sizeof ours; at < size; ++at)
    if (reinterpret_cast<const char *>(theirs)[at] != 0)
      usage("wrn_options has fields that this library (ABI " + std::to_string(WRN_ABI_VERSION) +
            ") does not know: expected zeros there");
  std::memcpy(&ours, theirs, std::min(size, sizeof ours));
  return ours;
}

void fill(wrn_tensor *theirs, const Tensor &tensor, std::size_t size) {
  wrn_tensor made{};
  if (tensor.name.size() >= sizeof made.name || tensor.shape.size() > std::size(made.shape))
    throw Error(WRN_ERROR, tensor.name + " is " + tuple(tensor.shape) + ": too large for a wrn_tensor");
  std::memcpy(made.name, tensor.name.data(), tensor.name.size());
  made.dtype = tensor.dtype, made.rank = static_cast<std::int32_t>(tensor.shape.size());
  std::copy(tensor.shape.begin(), tensor.shape.end(), made.shape);
  made.image_bytes = tensor.image_bytes;
  put(theirs, made, size);
}

const char *dtype_name(std::int32_t dtype) {
  switch (dtype) {
    case WRN_UINT8: return "uint8";
    case WRN_INT32: return "int32";
    case WRN_INT64: return "int64";
    case WRN_FLOAT16: return "float16";
    case WRN_FLOAT32: return "float32";
    default: usage("dtype " + std::to_string(dtype) + ": expected one of " + kDtypes);
  }
}

const Tensor &input_of(const Runner &runner, std::int32_t dtype) {
  const char *name = dtype_name(dtype);
  if (dtype == runner.input().dtype) return runner.input();
  if (dtype == WRN_UINT8) return runner.model().pixels;
  usage(std::string("images are ") + name + ": this runner takes uint8" +
        (runner.input().dtype == WRN_UINT8 ? "" : " or float32"));
}

const Tensor &output_of(const Runner &runner, std::int32_t index) {
  const std::vector<Tensor> &outputs = runner.model().outputs;
  if (index < 0 || static_cast<std::size_t>(index) >= outputs.size())
    usage("output " + std::to_string(index) + ": this runner has " + std::to_string(outputs.size()) +
          ", counted from 0");
  return outputs[static_cast<std::size_t>(index)];
}

std::string text_of(const Runner &runner, std::int32_t kind, std::int64_t index) {
  const Model &model = runner.model();
  switch (kind) {
    case WRN_TEXT_MODEL: return model.name;
    case WRN_TEXT_BACKEND: return runner.backend();
    case WRN_TEXT_PRECISION: return runner.precision();
    case WRN_TEXT_FELL_BACK: return runner.fell_back();
    case WRN_TEXT_LABEL: break;
    default: usage("text " + std::to_string(kind) + ": expected a WRN_TEXT_ constant");
  }
  if (index < 0 || index >= model.classes)
    usage("class " + std::to_string(index) + ": this network has " + std::to_string(model.classes) +
          ", counted from 0");
  return model.labels.empty() ? "" : model.labels[static_cast<std::size_t>(index)];
}

std::string utf8(const char *text, const char *name) {
  if (text == nullptr) return "";
  if (const auto fault = utf8_fault(text)) usage(std::string(name) + " is not UTF-8 (" + *fault + ")");
  return text;
}

std::vector<void *> checked(
    const Runner &runner, const wrn_images *images, const wrn_buffer *outputs, std::size_t n_outputs) {
  if (images == nullptr || outputs == nullptr) usage(images != nullptr ? "outputs is NULL" : "images is NULL");
  const Tensor &source = input_of(runner, images->dtype);
  const std::vector<Tensor> &all = runner.model().outputs;
  if (n_outputs != 1 && n_outputs != all.size()) {
    std::vector<std::string> names;
    for (const Tensor &each : all) names.push_back(each.name);
    usage(std::to_string(n_outputs) + " buffers: expected 1, for " + names[0] + ", or one for each of " +
          joined(names));
  }
  if (images->count < 1) usage(std::to_string(images->count) + " images: expected at least 1");
  if (images->data == nullptr) usage("images.data is NULL");
  const auto count = static_cast<std::size_t>(images->count);
  const auto needed = [count](const Tensor &tensor) {
    return std::to_string(count) + " x " + std::to_string(tensor.image_bytes) + " = " +
           product(count, tensor.image_bytes);
  };
  std::size_t size = 0;
  if (__builtin_mul_overflow(count, source.image_bytes, &size) || images->bytes != size)
    usage("images have " + std::to_string(images->bytes) + " bytes: expected " + needed(source) + ", " +
          dtype_name(source.dtype) + " " + tuple(source.shape) + " each");
  std::vector<void *> into;
  for (std::size_t at = 0; at < n_outputs; ++at) {
    if (outputs[at].data == nullptr) usage("the buffer for " + all[at].name + " is NULL");
    if (__builtin_mul_overflow(count, all[at].image_bytes, &size) || outputs[at].bytes < size)
      usage("the buffer for " + all[at].name + " has " + std::to_string(outputs[at].bytes) +
            " bytes: expected at least " + needed(all[at]));
    into.push_back(outputs[at].data);
  }
  return into;
}

}  // namespace wrn
