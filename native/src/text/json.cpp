#include "text/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

#include "text/format.hpp"

namespace wrn {

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json read() {
    blank();
    Json value = any();
    blank();
    if (at_ != text_.size()) fail("Extra data", at_);
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string &what, std::size_t where) const {
    const std::string_view before = text_.substr(0, where);
    const auto lines = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t line = before.rfind('\n');
    const std::size_t column = line == before.npos ? where + 1 : where - line;
    throw JsonError{what + ": line " + std::to_string(lines) + " column " + std::to_string(column) + " (char " +
                    std::to_string(where) + ")"};
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void blank() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool take(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return false;
    at_ += wanted.size();
    return true;
  }

  Json any() {
    Json value;
    if (at_ == text_.size()) fail("Expecting value", at_);
    if (take("{")) {
      value.value_ = object();
    } else if (take("[")) {
      value.value_ = array();
    } else if (take("\"")) {
      value.value_ = string();
    } else if (take("true")) {
      value.value_ = true;
    } else if (take("false")) {
      value.value_ = false;
    } else if (!take("null")) {
      value.value_ = number();
    }
    return value;
  }

  Json::Object object() {
    Json::Object members;
    blank();
    if (take("}")) return members;
    for (;;) {
      if (!take("\"")) fail("Expecting property name enclosed in double quotes", at_);
      std::string name = string();
      blank();
      if (!take(":")) fail("Expecting ':' delimiter", at_);
      blank();
      Json value = any();
      const auto [there, added] = members.try_emplace(std::move(name), std::move(value));
      if (!added) throw JsonError{"the key " + quoted(there->first) + " appears twice"};
      blank();
      if (take("}")) return members;
      if (!take(",")) fail("Expecting ',' delimiter", at_);
      blank();
    }
  }

  Json::Array array() {
    Json::Array items;
    blank();
    if (take("]")) return items;
    for (;;) {
      items.push_back(any());
      blank();
      if (take("]")) return items;
      if (!take(",")) fail("Expecting ',' delimiter", at_);
      blank();
    }
  }

  bool digits() {
    const std::size_t from = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > from;
  }

  Json::Number number() {
    for (const std::string_view constant : {"NaN", "Infinity", "-Infinity"})
      if (take(constant)) throw JsonError{std::string(constant) + " is not a JSON number"};
    const std::size_t from = at_;
    take("-");
    if (!take("0") && !digits()) fail("Expecting value", from);
    bool whole = true;
    std::size_t end = at_;
    if (take(".") && digits()) end = at_, whole = false;
    at_ = end;
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      if (digits()) end = at_, whole = false;
    }
    at_ = end;
    const std::string text(text_.substr(from, end - from));
    if (whole) return {text == "-0" ? "0" : text};
    double value = 0;  // not strtod: the host's locale may have commas
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec == std::errc::result_out_of_range) value = read_far(text);
    if (!std::isfinite(value)) throw JsonError{text + " is not a finite number"};
    return {wrn::number(value)};
  }

  // A number whose exponent is too far from 0: 0 or infinite.
  static double read_far(const std::string &text) {
    const std::size_t mark = text.find_first_of("eE");
    const bool small = mark != text.npos && text.find('-', mark) != text.npos;
    return small ? (text[0] == '-' ? -0.0 : 0.0) : HUGE_VAL;
  }

  std::uint32_t hexadecimal() {
    std::uint32_t code = 0;
    const std::string_view four = text_.substr(at_, 4);
    const auto read = std::from_chars(four.data(), four.data() + four.size(), code, 16);
    if (four.size() < 4 || read.ec != std::errc() || read.ptr != four.data() + 4)
      fail("Invalid \\uXXXX escape", at_ - 1);
    at_ += 4;
    return code;
  }

  void escape(std::string &text) {
    constexpr std::string_view kinds = "bfnrt\"\\/", meant = "\b\f\n\r\t\"\\/";
    const std::size_t known = kinds.find(text_[at_++]);
    if (known != kinds.npos) {
      text += meant[known];
      return;
    }
    if (text_[at_ - 1] != 'u') fail("Invalid \\escape", at_ - 2);
    std::uint32_t code = hexadecimal();
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      const std::size_t back = at_;
      at_ += 2;
      const std::uint32_t low = hexadecimal();
      if (low >= 0xDC00 && low < 0xE000)
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      else
        at_ = back;
    }
    append_utf8(text, code);
  }

  std::string string() {
    const std::size_t begin = at_ - 1;
    std::string text;
    for (;;) {
      const std::size_t from = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20)
        ++at_;
      text.append(text_.substr(from, at_ - from));
      if (at_ == text_.size()) fail("Unterminated string starting at", begin);
      const char next = text_[at_++];
      if (next == '"') return text;
      if (next != '\\') fail("Invalid control character at", at_ - 1);
      if (at_ == text_.size()) fail("Unterminated string starting at", begin);
      escape(text);
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonReader(text).read(); }

std::size_t json_depth(std::string_view text) {
  std::size_t level = 0, deepest = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char each = text[at];
    if (each == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at)
        if (text[at] == '\\') ++at;
      deepest = std::max(deepest, level + 1);
    } else if (each == '{' || each == '[') {
      deepest = std::max(deepest, ++level);
    } else if (each == '}' || each == ']') {
      if (level > 0) --level;
    } else if (std::string_view(" \t\n\r,:").find(each) == std::string_view::npos) {
      deepest = std::max(deepest, level + 1);
    }
  }
  return deepest;
}

}  // namespace wrn
