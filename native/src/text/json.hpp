// json.hpp: reads JSON strictly, and writes it as Python does. Numbers keep the text that they were written with.
//
// A manifest is one exact text with a digest over it. A library that gives values alone, as a double for each number,
// could not compute that digest; this reader is smaller than what such a library would need around it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace wrn {

// What is wrong with a text, in the words of Python's json.
struct JsonError {
  std::string text;
};

class Json {
 public:
  struct Number {
    std::string text;
  };
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json, std::less<>>;  // by code points, as Python sorts

  // Reads a text whose nesting was checked with json_depth(): the reader calls itself for each level.
  static Json parse(std::string_view text);
  template <class T>
  static Json of(T value) {
    Json made;
    made.value_ = std::move(value);
    return made;
  }

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  const bool *boolean() const { return std::get_if<bool>(&value_); }
  const Number *number() const { return std::get_if<Number>(&value_); }
  const std::string *string() const { return std::get_if<std::string>(&value_); }
  const Array *array() const { return std::get_if<Array>(&value_); }
  const Object *object() const { return std::get_if<Object>(&value_); }

  // On one line without spaces, or indented by one space a level, as json.dumps(..., sort_keys=True) writes it.
  std::string compact() const;
  std::string indented() const;
  // As Python's repr of the value.
  std::string shown() const;

 private:
  friend class JsonReader;
  void write(std::string &text, bool indents, std::size_t level) const;
  std::variant<std::nullptr_t, bool, Number, std::string, Array, Object> value_ = nullptr;
};

// Levels of nesting: 1 for a number, 2 for a list of numbers.
std::size_t json_depth(std::string_view text);

}  // namespace wrn
