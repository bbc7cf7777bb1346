#include "bundle/manifest.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bundle/budget.hpp"
#include "error.hpp"
#include "text/format.hpp"
#include "text/json.hpp"
#include "text/record.hpp"
#include "text/sha256.hpp"

namespace wrn {
namespace {

constexpr const char *kFormat = "2", *kFormatAsFraction = "2.0";  // the same number to Python

bool is_plain(const std::string &path) {
  std::size_t start = 0;
  for (; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    if (end == start || path[start] == '.') return false;
    start = end + 1;
  }
  return path != "manifest.json" && path.find('\\') == path.npos && printable(path) == path &&
         path.find_first_of("\n\t") == path.npos;
}

bool is_key(const std::string &key) {
  const auto fits = [](char each) {
    return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9') ||
           each == '_' || each == '.' || each == '-';
  };
  return !key.empty() && key.size() <= 100 && std::all_of(key.begin(), key.end(), fits);
}

bool is_digest(const std::string &text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

Artifact read_artifact(const Value &value) {
  value.record({"key", "kind", "precision", "path", "sha256", "size_bytes", "recipe", "facts"});
  Artifact made;
  value.at("facts").members();
  made.facts = value.at("facts").json;
  made.key = value.at("key").text();
  value.at("kind").one_of({"weights", "onnx", "calibration", "plan", "report"});
  made.kind = value.at("kind").text();
  made.path = value.at("path").text();
  value.at("precision").one_of({"fp32", "fp16", "int8", "bf16", "fp8"});
  const Value recipe = value.at("recipe").record({"parents", "options", "tools"});
  recipe.at("options").members();
  for (const auto &[key, digest] : recipe.at("parents").members())
    made.parents[key] = Value{digest, recipe.name + ".parents." + key}.text();
  for (const auto &[tool, version] : recipe.at("tools").members())
    Value{version, recipe.name + ".tools." + tool}.text();
  made.sha256 = value.at("sha256").text();
  const std::int64_t size = value.at("size_bytes").whole();
  if (!is_plain(made.path))
    value.impossible("path " + quoted(made.path) + ": expected one within the bundle, such as onnx/fp32.onnx");
  if (!is_key(made.key))
    value.impossible("key " + quoted(made.key).substr(0, 120) +
                     ": expected letters, digits, dots and dashes, such as onnx-fp32");
  if (!is_digest(made.sha256) || size < 0)
    value.impossible("sha256 " + quoted(made.sha256).substr(0, 80) + " of " + std::to_string(size) +
                     " bytes: expected 64 hexadecimal digits");
  made.size_bytes = static_cast<std::uint64_t>(size);
  return made;
}

std::array<double, 3> three(const Value &value) {
  value.sized(3);
  return {value.item(0).finite(), value.item(1).finite(), value.item(2).finite()};
}

void read_preprocessing(Model &model, const Value &value) {
  value.record({"height", "width", "mean", "std", "resize", "interpolation"});
  model.height = value.at("height").whole();
  const std::string &interpolation = value.at("interpolation").text();
  const std::array<double, 3> mean = three(value.at("mean"));
  const bool resizes = !value.at("resize").json.is_null();
  const std::int64_t resize = resizes ? value.at("resize").whole() : 0;
  const std::array<double, 3> deviation = three(value.at("std"));
  model.width = value.at("width").whole();
  constexpr std::int64_t kLargestSide = 1 << 20;
  if (std::min(model.height, model.width) < 1 || std::max(model.height, model.width) > kLargestSide)
    value.impossible("an input of " + std::to_string(model.height) + "x" + std::to_string(model.width) +
                     " pixels: expected at least 1x1");
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (deviation[channel] <= 0) value.impossible("std: expected three positive numbers, in units of a 0..1 image");
    if (mean[channel] < 0 || mean[channel] > 1 || deviation[channel] > 1)
      value.impossible("mean and std: expected those of a 0..1 image, from 0 to 1");
    model.scale[channel] = static_cast<float>(1.0 / (255.0 * deviation[channel]));
    model.shift[channel] = static_cast<float>(-mean[channel] / deviation[channel]);
  }
  if (resizes && resize < std::max(model.height, model.width))
    value.impossible("resize " + std::to_string(resize) + ": expected at least " +
                     std::to_string(std::max(model.height, model.width)) + ", the network's input");
  if (interpolation != "bilinear" && interpolation != "bicubic")
    value.impossible("interpolation " + quoted(interpolation) + ": expected bilinear or bicubic");
}

// Python's round(), which rounds halves to even, of a quotient.
std::int64_t rounded(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(a) / static_cast<double>(b)));
}

// `whole` is the model's description.
void read_interface(Model &model, const Value &value, const Value &whole) {
  value.record({"pixels", "top_k", "features", "feature_maps"});
  std::vector<std::array<std::int64_t, 3>> maps;
  const Value given = value.at("feature_maps");
  for (std::size_t at = 0; at < given.items().size(); ++at) {
    const Value map = given.item(at);
    map.sized(3);
    maps.push_back({map.item(0).whole(), map.item(1).whole(), map.item(2).whole()});
    if (*std::min_element(maps.back().begin(), maps.back().end()) < 1)
      value.impossible("feature maps: expected one (channels, height, width) for each resolution");
  }
  const std::int64_t features = value.at("features").whole();
  const bool pixels = value.at("pixels").truth(), top = !value.at("top_k").json.is_null();
  const std::int64_t top_k = top ? value.at("top_k").whole() : 0;
  if (top && top_k < 1) value.impossible("the top " + std::to_string(top_k) + " classes: expected at least 1");
  if (features < 0) value.impossible(std::to_string(features) + " features: expected 0 or more");
  if (top && top_k > model.classes)
    whole.impossible("the top " + std::to_string(top_k) + " of " + std::to_string(model.classes) +
                     " classes: expected " + std::to_string(model.classes) + " at most");
  model.pixels = make_tensor("pixels", WRN_UINT8, {model.height, model.width, 3});
  model.input = pixels ? make_tensor("images", WRN_UINT8, {model.height, model.width, 3})
                       : make_tensor("images", WRN_FLOAT32, {3, model.height, model.width});
  if (top) {
    model.outputs.push_back(make_tensor("top_logits", WRN_FLOAT32, {top_k}));
    model.outputs.push_back(make_tensor("top_classes", WRN_INT64, {top_k}));
  } else {
    model.outputs.push_back(make_tensor("logits", WRN_FLOAT32, {model.classes}));
  }
  if (features > 0) model.outputs.push_back(make_tensor("features", WRN_FLOAT32, {features}));
  for (const auto &[channels, height, width] : maps) {
    const std::int64_t stride = std::max<std::int64_t>(1, rounded(model.height, height));
    model.outputs.push_back(
        make_tensor("feature_map_" + std::to_string(stride), WRN_FLOAT32, {channels, height, width}));
  }
}

void read_whitening(const Value &value) {
  if (value.json.is_null()) return;
  value.record({"images", "scale", "bias", "min_length"});
  for (const char *field : {"bias", "images", "min_length", "scale"})
    if (value.at(field).finite() <= 0) value.impossible("whitening: expected positive numbers");
}

Model read_model(const Value &value) {
  value.record({"name", "family", "depth", "widen", "classes", "preprocessing", "dropout", "labels", "interface",
                "whitening"});
  Model model;
  model.classes = value.at("classes").whole();
  value.at("depth").whole();
  const double dropout = value.at("dropout").finite();
  model.family = value.at("family").text();
  const Value labels = value.at("labels");
  for (std::size_t at = 0; at < labels.items().size(); ++at) model.labels.push_back(labels.item(at).text());
  model.name = value.at("name").text();
  read_preprocessing(model, value.at("preprocessing"));
  read_whitening(value.at("whitening"));
  value.at("widen").finite();
  if (model.classes < 2) value.impossible(std::to_string(model.classes) + " classes: expected at least 2");
  if (!model.labels.empty() && static_cast<std::int64_t>(model.labels.size()) != model.classes)
    value.impossible(std::to_string(model.labels.size()) + " labels for " + std::to_string(model.classes) +
                     " classes: expected one label per class");
  if (dropout < 0 || dropout >= 1)
    value.impossible("dropout " + number(dropout) + ": expected a probability from 0 up to, but not including, 1");
  read_interface(model, value.at("interface"), value);
  return model;
}

// The text of a record without `format` and `sha256`, which are added; as `seal` of wrn_deploy/manifest.py.
std::string seal(Json::Object record) {
  record.erase("format"), record.erase("sha256");
  Sha256 digest;
  const std::string content = kFormat + Json::of(record).compact();
  digest.add(content.data(), content.size());
  record.emplace("format", Json::of(Json::Number{kFormat}));
  record.emplace("sha256", Json::of(digest.hex()));
  return Json::of(std::move(record)).indented() + "\n";
}

Json read_json(std::string_view content, const std::string &name) {
  const Budget budget = read_budget();
  const auto count = [content](char wanted) {
    return static_cast<std::uint64_t>(std::count(content.begin(), content.end(), wanted));
  };
  budget.check_parts((count('{') + count('[') + count('"') / 2) / 4, name);
  budget.check_members(count(','), name);
  budget.check_nesting(json_depth(content), name);
  try {
    return Json::parse(content);
  } catch (const JsonError &error) {
    throw Unfit(name + " is damaged (" + error.text + "): expected JSON");
  }
}

}  // namespace

Tensor make_tensor(std::string name, std::int32_t dtype, std::vector<std::int64_t> shape) {
  std::size_t bytes = dtype == WRN_UINT8 ? 1 : dtype == WRN_INT64 ? 8 : 4;
  for (const std::int64_t size : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes))
      throw Unfit(name + " of shape " + tuple(shape) + " is larger than any memory: export the model again");
  return {std::move(name), dtype, std::move(shape), bytes};
}

Manifest Manifest::parse(std::string_view content, const std::string &name) {
  const Json record = read_json(content, name);
  if (record.object() == nullptr || record.object()->count("format") == 0)
    throw Unfit(name + " is damaged (no format): export the model again");
  const Json &format = record.object()->find("format")->second;
  const std::string found = format.number() != nullptr ? format.number()->text : "";
  if (found != kFormat && found != kFormatAsFraction)
    throw Error(WRN_ERROR, name + " has format " + format.shown().substr(0, 40) + ": expected " + kFormat +
                               "; use the version of wrn-deploy that wrote it, or export the model again");
  if (seal(*record.object()) != content)
    throw Unfit(name +
                " is damaged or was changed (its digest does not match its content): copy the bundle again from an "
                "intact copy, or export the model again");
  Json::Object described = *record.object();
  described.erase("format"), described.erase("sha256");
  const Json whole = Json::of(std::move(described));
  const Value value{whole, name};
  value.record({"model", "random_weights", "artifacts"});
  Manifest made;
  for (const auto &[key, artifact] : value.at("artifacts").members())
    made.artifacts.emplace(key, read_artifact({artifact, name + ".artifacts." + key}));
  made.model = read_model(value.at("model"));
  value.at("random_weights").truth();
  for (const auto &[key, artifact] : made.artifacts)
    if (key != artifact.key)
      throw Unfit(name + " has an artifact " + key + " of another key: export the model again");
  return made;
}

}  // namespace wrn
