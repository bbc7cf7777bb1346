#include "text/format.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>
#include <system_error>

namespace wrn {
namespace {

__extension__ using Wide = unsigned __int128;

std::string hexadecimal(std::uint32_t number, int digits) {
  std::string text;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) text += "0123456789abcdef"[number >> shift & 15];
  return text;
}

// As Python's unicode_escape.
std::string escaped(std::uint32_t code) {
  switch (code) {
    case '\t': return "\\t";
    case '\n': return "\\n";
    case '\r': return "\\r";
    default: break;
  }
  if (code < 0x100) return "\\x" + hexadecimal(code, 2);
  return code < 0x10000 ? "\\u" + hexadecimal(code, 4) : "\\U" + hexadecimal(code, 8);
}

struct Range {
  std::uint32_t first, last;
};

// Controls, characters without width or that turn the direction of writing, other line separators, surrogates, private
// use and noncharacters. Code points that Unicode has not assigned yet are shown as they are: that list would change.
constexpr Range kHidden[] = {
    {0x00, 0x1F},         {0x7F, 0x9F},         {0xAD, 0xAD},       {0x34F, 0x34F},     {0x600, 0x605},
    {0x61C, 0x61C},       {0x6DD, 0x6DD},       {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},
    {0x115F, 0x1160},     {0x17B4, 0x17B5},     {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E},
    {0x2060, 0x206F},     {0x3164, 0x3164},     {0xD800, 0xF8FF},   {0xFDD0, 0xFDEF},   {0xFE00, 0xFE0D},
    {0xFEFF, 0xFEFF},     {0xFFA0, 0xFFA0},     {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF},   {0x110BD, 0x110BD},
    {0x110CD, 0x110CD},   {0x13430, 0x1343F},   {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
    {0xF0000, 0x10FFFF},
};

bool is_hidden(std::uint32_t code) {
  const auto *found = std::find_if(std::begin(kHidden), std::end(kHidden),
                                   [code](const Range &range) { return code <= range.last; });
  return found != std::end(kHidden) && code >= found->first;
}

// The length of what both texts have in common, as difflib.SequenceMatcher counts it: the longest part that is in both
// (the first one, of equally long ones), and the same on either side of it.
std::size_t common(std::string_view a, std::string_view b) {
  std::size_t best = 0, from_a = 0, from_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < b.size(); ++j) {
      std::size_t length = 0;
      while (i + length < a.size() && j + length < b.size() && a[i + length] == b[j + length]) ++length;
      if (length > best) best = length, from_a = i, from_b = j;
    }
  if (best == 0) return 0;
  return best + common(a.substr(0, from_a), b.substr(0, from_b)) +
         common(a.substr(from_a + best), b.substr(from_b + best));
}

}  // namespace

std::string reason(int number) { return std::generic_category().message(number); }

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char mark = has_single && !has_double ? '"' : '\'';
  std::string made(1, mark);
  for (std::size_t at = 0; at < text.size();) {
    const std::uint32_t code = next_code(text, at);
    if (code == static_cast<unsigned char>(mark) || code == '\\') made += '\\';
    if (is_hidden(code) || (code > 0x7E && code == 0xA0))
      made += escaped(code);
    else
      append_utf8(made, code);
  }
  return made + mark;
}

std::string tuple(const std::vector<std::int64_t> &numbers) {
  std::string text = "(";
  for (std::size_t at = 0; at < numbers.size(); ++at) text += (at > 0 ? ", " : "") + std::to_string(numbers[at]);
  return text + (numbers.size() == 1 ? ",)" : ")");
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string product(std::uint64_t a, std::uint64_t b) {
  Wide rest = static_cast<Wide>(a) * b;
  std::string text;
  do text.insert(text.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
  while ((rest /= 10) != 0);
  return text;
}

std::string number(double value) {
  std::array<char, 64> room{};
  const char *end = std::to_chars(room.data(), room.data() + room.size(), value, std::chars_format::scientific).ptr;
  const std::string_view shortest(room.data(), static_cast<std::size_t>(end - room.data()));
  const std::size_t mark = shortest.find('e');
  const int exponent = std::atoi(shortest.data() + mark + 1);
  const bool negative = shortest[0] == '-';
  std::string digits;
  for (const char each : shortest.substr(0, mark))
    if (each >= '0' && each <= '9') digits += each;
  std::string text;
  if (exponent < -4 || exponent >= 16) {  // as repr does
    text = digits.substr(0, 1) + (digits.size() > 1 ? "." + digits.substr(1) : "") + std::string(shortest.substr(mark));
  } else if (exponent < 0) {
    text = "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  } else {
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    text = digits.substr(0, whole) + "." + (digits.size() > whole ? digits.substr(whole) : "0");
  }
  return negative ? "-" + text : text;
}

std::string joined(const std::vector<std::string> &words, std::string_view between) {
  std::string text;
  for (const std::string &word : words) text += (text.empty() ? "" : std::string(between)) + word;
  return text;
}

std::string near_names(std::string_view name, const std::vector<std::string> &known) {
  std::multimap<double, std::string, std::greater<>> near;
  for (const std::string &each : known) {
    const auto length = static_cast<double>(name.size() + each.size());
    const double ratio = length > 0 ? 2.0 * static_cast<double>(common(each, name)) / length : 1.0;
    if (ratio >= 0.5) near.emplace(ratio, each);
  }
  std::vector<std::string> best;
  for (const auto &[ratio, each] : near)
    if (best.size() < 3) best.push_back(each);
  return best.empty() ? "" : " (did you mean " + joined(best, " or ") + "?)";
}

std::optional<std::string> utf8_fault(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[at]);
    const std::size_t length = lead < 0x80                  ? 1
                               : lead < 0xC2 || lead > 0xF4 ? 0
                               : lead < 0xE0                ? 2
                               : lead < 0xF0                ? 3
                                                            : 4;
    std::size_t good = 1;
    for (; good < length && at + good < bytes.size(); ++good) {
      const auto byte = static_cast<unsigned char>(bytes[at + good]);
      const unsigned char lowest = good > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
      const unsigned char highest = good > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
      if (byte < lowest || byte > highest) break;
    }
    if (length > 0 && good == length) {
      at += length;
      continue;
    }
    const char *why = length == 0                  ? "invalid start byte"
                      : at + good == bytes.size() ? "unexpected end of data"
                                                   : "invalid continuation byte";
    const std::string where = " in position " + std::to_string(at);
    const std::string what =
        good == 1 ? "byte 0x" + hexadecimal(lead, 2) + where : "bytes" + where + "-" + std::to_string(at + good - 1);
    return "'utf-8' codec can't decode " + what + ": " + why;
  }
  return std::nullopt;
}

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const std::uint32_t code = next_code(text, at);
    if (is_hidden(code) && code != '\n' && code != '\t')
      shown += escaped(code);
    else
      append_utf8(shown, code);
  }
  return shown;
}

void append_utf8(std::string &text, std::uint32_t code) {
  const auto put = [&text](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) return put(0xC0 | code >> 6), put(0x80 | (code & 63));
  if (code < 0x10000) return put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
}

std::uint32_t next_code(std::string_view text, std::size_t &at) {
  const auto byte = [&](std::size_t offset) -> std::uint32_t {
    return at + offset < text.size() ? static_cast<unsigned char>(text[at + offset]) : 0U;
  };
  const std::uint32_t lead = byte(0);
  std::uint32_t code = 0xDC00 + lead;  // of a byte that begins no character
  std::size_t length = 1;
  const auto follows = [&](std::size_t offset) { return (byte(offset) & 0xC0) == 0x80; };
  if (lead < 0x80) {
    code = lead;
  } else if (lead >= 0xC2 && lead < 0xE0 && follows(1)) {
    code = (lead & 0x1F) << 6 | (byte(1) & 63), length = 2;
  } else if (lead >= 0xE0 && lead < 0xF0 && follows(1) && follows(2)) {
    const std::uint32_t made = (lead & 0x0F) << 12 | (byte(1) & 63) << 6 | (byte(2) & 63);
    if (made >= 0x800) code = made, length = 3;
  } else if (lead >= 0xF0 && lead < 0xF5 && follows(1) && follows(2) && follows(3)) {
    const std::uint32_t made = (lead & 7) << 18 | (byte(1) & 63) << 12 | (byte(2) & 63) << 6 | (byte(3) & 63);
    if (made >= 0x10000 && made < 0x110000) code = made, length = 4;
  }
  at += length;
  return code;
}

}  // namespace wrn
