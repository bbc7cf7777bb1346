// json_write.cpp: JSON texts as Python writes them, and values as its repr shows them.
#include <cstdint>

#include "text/format.hpp"
#include "text/json.hpp"

namespace wrn {
namespace {

// In ASCII, as Python's json writes a text.
void write_string(std::string &made, std::string_view text) {
  const auto unit = [&made](std::uint32_t code) {
    made += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) made += "0123456789abcdef"[code >> shift & 15];
  };
  made += '"';
  for (std::size_t at = 0; at < text.size();) {
    const std::uint32_t code = next_code(text, at);
    constexpr std::string_view meant = "\b\f\n\r\t\"\\", kinds = "bfnrt\"\\";
    const std::size_t known = code < 0x80 ? meant.find(static_cast<char>(code)) : meant.npos;
    if (known != meant.npos) {
      made += {'\\', kinds[known]};
    } else if (code >= 0x20 && code < 0x80) {
      made += static_cast<char>(code);
    } else if (code < 0x10000) {
      unit(code);
    } else {
      unit(0xD800 + ((code - 0x10000) >> 10));
      unit(0xDC00 + ((code - 0x10000) & 0x3FF));
    }
  }
  made += '"';
}

}  // namespace

std::string Json::compact() const {
  std::string text;
  write(text, false, 0);
  return text;
}

std::string Json::indented() const {
  std::string text;
  write(text, true, 0);
  return text;
}

void Json::write(std::string &text, bool indents, std::size_t level) const {
  const auto line = [&](std::size_t spaces) {
    if (indents) text += '\n', text.append(spaces, ' ');
  };
  if (is_null()) text += "null";
  if (boolean() != nullptr) text += *boolean() ? "true" : "false";
  if (number() != nullptr) text += number()->text;
  if (string() != nullptr) write_string(text, *string());
  if (array() != nullptr) {
    text += '[';
    for (const Json &item : *array()) {
      if (&item != &array()->front()) text += ',';
      line(level + 1);
      item.write(text, indents, level + 1);
    }
    if (!array()->empty()) line(level);
    text += ']';
  }
  if (object() != nullptr) {
    text += '{';
    for (auto member = object()->begin(); member != object()->end(); ++member) {
      if (member != object()->begin()) text += ',';
      line(level + 1);
      write_string(text, member->first);
      text += indents ? ": " : ":";
      member->second.write(text, indents, level + 1);
    }
    if (!object()->empty()) line(level);
    text += '}';
  }
}

std::string Json::shown() const {
  if (is_null()) return "None";
  if (boolean() != nullptr) return *boolean() ? "True" : "False";
  if (number() != nullptr) return number()->text;
  if (string() != nullptr) return quoted(*string());
  std::vector<std::string> parts;
  if (array() != nullptr) {
    for (const Json &item : *array()) parts.push_back(item.shown());
    return "[" + joined(parts) + "]";
  }
  for (const auto &[name, value] : *object()) parts.push_back(quoted(name) + ": " + value.shown());
  return "{" + joined(parts) + "}";
}

}  // namespace wrn
