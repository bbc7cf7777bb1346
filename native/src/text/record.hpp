// record.hpp: a value of a JSON file, with its place, that must be what a record declares; as wrn_deploy/files/record.py.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "text/json.hpp"

namespace wrn {

// What is not as expected throws Unfit, with the value and its place, such as manifest.json.model.classes.
struct Value {
  const Json &json;
  std::string name;

  [[noreturn]] void refuse(const std::string &expected) const;
  [[noreturn]] void impossible(const std::string &why) const;

  // The value of a record's field.
  Value at(const char *field) const;
  // Checks that it is a record with exactly these fields.
  const Value &record(std::initializer_list<const char *> fields) const;
  const Json::Object &members() const;
  const Json::Array &items() const;
  Value item(std::size_t index) const;
  // Checks that it is a list of so many values.
  void sized(std::size_t count) const;
  const std::string &text() const;
  bool truth() const;
  std::int64_t whole() const;
  double finite() const;
  void one_of(std::initializer_list<const char *> known) const;
};

}  // namespace wrn
