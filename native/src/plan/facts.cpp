#include "plan/facts.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <utility>

#include "error.hpp"
#include "text/json.hpp"

namespace wrn {
namespace {

constexpr std::pair<const char *, std::int32_t> kElements[] = {
    {"uint8", WRN_UINT8}, {"int32", WRN_INT32}, {"int64", WRN_INT64}, {"float32", WRN_FLOAT32}};

[[noreturn]] void lacks(const char *what) {
  throw Unfit(std::string("the manifest lacks the plan's ") + what + ": rebuild it");
}

// A field of a record; nullptr: it is not there, or this is no record.
const Json *field(const Json &record, const char *name) {
  if (record.object() == nullptr) return nullptr;
  const auto found = record.object()->find(name);
  return found == record.object()->end() ? nullptr : &found->second;
}

std::string text(const Json &record, const char *name) {
  const Json *found = field(record, name);
  return found != nullptr && found->string() != nullptr ? *found->string() : "";
}

bool truth(const Json &record, const char *name) {
  const Json *found = field(record, name);
  return found != nullptr && found->boolean() != nullptr && *found->boolean();
}

std::optional<std::int64_t> whole(const Json *value) {
  if (value == nullptr || value->number() == nullptr) return std::nullopt;
  const std::string &digits = value->number()->text;
  std::int64_t made = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), made);
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return std::nullopt;
  return made;
}

std::vector<Profile> profiles_of(const Json &facts) {
  const Json *records = field(facts, "profiles");
  if (records == nullptr || records->array() == nullptr || records->array()->empty()) lacks("batches");
  std::vector<Profile> made;
  for (const Json &record : *records->array()) {
    const auto minimum = whole(field(record, "minimum")), optimum = whole(field(record, "optimum")),
               maximum = whole(field(record, "maximum"));
    if (!minimum || !optimum || !maximum) lacks("batches");
    if (*minimum < 1 || *minimum > *optimum || *optimum > *maximum)
      throw Unfit("the manifest says that the plan's batches are " + records->shown() + ": rebuild it");
    made.push_back({*minimum, *optimum, *maximum});
  }
  return made;
}

Tensor input_of(const Json &facts) {
  const Json *records = field(facts, "inputs");
  if (records == nullptr || records->array() == nullptr || records->array()->size() != 1) lacks("input");
  const Json &record = records->array()->front();
  const std::string dtype = text(record, "dtype");
  const auto *known = std::find_if(std::begin(kElements), std::end(kElements),
                                   [&dtype](const auto &each) { return dtype == each.first; });
  const Json *sizes = field(record, "shape");
  if (known == std::end(kElements) || sizes == nullptr || sizes->array() == nullptr) lacks("input");
  std::vector<std::int64_t> shape;
  for (const Json &size : *sizes->array()) {
    const auto read = whole(&size);
    if (!read || *read < 1) lacks("input");
    shape.push_back(*read);
  }
  return make_tensor(text(record, "name"), known->second, std::move(shape));
}

}  // namespace

PlanFacts read_plan_facts(const Json &facts) {
  PlanFacts made;
  made.flavor = text(facts, "flavor"), made.version = text(facts, "version");
  made.compute_capability = text(facts, "compute_capability"), made.gpu = text(facts, "gpu");
  made.hardware = text(facts, "hardware");
  const Json *targets = field(facts, "compute_capabilities");
  if (targets != nullptr && targets->array() != nullptr)
    for (const Json &target : *targets->array())
      if (target.string() != nullptr) made.compute_capabilities.push_back(*target.string());
  made.stripped = truth(facts, "strip"), made.version_compatible = truth(facts, "version_compatible");
  made.exclude_lean_runtime = truth(facts, "exclude_lean_runtime");
  made.profiles = profiles_of(facts);
  made.input = input_of(facts);
  return made;
}

}  // namespace wrn
