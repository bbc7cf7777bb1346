#include "text/record.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <vector>

#include "error.hpp"
#include "text/format.hpp"

namespace wrn {

void Value::refuse(const std::string &expected) const {
  const std::string shown = json.shown();
  std::size_t end = 0;
  for (int letters = 0; letters < 80 && end < shown.size(); ++letters) next_code(shown, end);
  throw Unfit(name + " is " + shown.substr(0, end) + ": expected " + expected);
}

void Value::impossible(const std::string &why) const { throw Unfit(name + " is impossible (" + why + ")"); }

Value Value::at(const char *field) const { return {json.object()->find(field)->second, name + "." + field}; }

const Value &Value::record(std::initializer_list<const char *> fields) const {
  if (json.object() == nullptr) refuse("a record");
  const std::vector<std::string> expected(fields.begin(), fields.end());
  for (const auto &member : *json.object())
    if (std::find(expected.begin(), expected.end(), member.first) == expected.end())
      throw Unfit(name + " has the unknown field " + quoted(member.first) + ": expected " + joined(expected));
  std::vector<std::string> sorted = expected;
  std::sort(sorted.begin(), sorted.end());
  for (const std::string &field : sorted)
    if (json.object()->count(field) == 0)
      throw Unfit(name + " lacks the field " + quoted(field) + ": expected " + joined(expected));
  return *this;
}

const Json::Object &Value::members() const {
  if (json.object() == nullptr) refuse("a record");
  return *json.object();
}

const Json::Array &Value::items() const {
  if (json.array() == nullptr) refuse("a list");
  return *json.array();
}

Value Value::item(std::size_t index) const { return {items()[index], name + "[" + std::to_string(index) + "]"}; }

void Value::sized(std::size_t count) const {
  if (items().size() != count)
    throw Unfit(name + " has " + std::to_string(items().size()) + " values: expected " + std::to_string(count));
}

const std::string &Value::text() const {
  if (json.string() == nullptr || utf8_fault(*json.string())) refuse("text");
  return *json.string();
}

bool Value::truth() const {
  if (json.boolean() == nullptr) refuse("true or false");
  return *json.boolean();
}

std::int64_t Value::whole() const {
  std::int64_t value = 0;
  const std::string text = json.number() != nullptr ? json.number()->text : "";
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) refuse("an integer");
  return value;
}

double Value::finite() const {
  double value = 0;
  const std::string text = json.number() != nullptr ? json.number()->text : "";
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || read.ec != std::errc() || !std::isfinite(value)) refuse("a finite number");
  return value;
}

void Value::one_of(std::initializer_list<const char *> known) const {
  const std::vector<std::string> names(known.begin(), known.end());
  if (json.string() == nullptr || std::find(names.begin(), names.end(), *json.string()) == names.end())
    refuse("one of " + joined(names));
}

}  // namespace wrn
