// format.hpp: texts for people, as Python writes them: quotes, tuples, grouped digits, escapes, near names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wrn {

// The system's text for an errno, as in "No such file or directory".
std::string reason(int number);

// A text in quotes, with escapes, as Python's repr.
std::string quoted(std::string_view text);

// As in "(3, 32, 32)" and "(10,)".
std::string tuple(const std::vector<std::int64_t> &numbers);

// As in "1,234,567".
std::string grouped(std::uint64_t number);

// a * b in decimal digits, without overflow.
std::string product(std::uint64_t a, std::uint64_t b);

// The shortest text of a finite number that reads back as the same, as Python's repr.
std::string number(double value);

// As in "a, b, c".
std::string joined(const std::vector<std::string> &words, std::string_view between = ", ");

// ` (did you mean ...?)` for the known names near `name`, or an empty text; as Python's difflib finds them.
std::string near_names(std::string_view name, const std::vector<std::string> &known);

// Why the bytes are not UTF-8, in Python's words; nothing if they are.
std::optional<std::string> utf8_fault(std::string_view bytes);

// The text with a visible escape for each character that a terminal obeys or hides, and for bytes that are not UTF-8.
std::string printable(std::string_view text);

// Appends a code point, halves of surrogate pairs too, in UTF-8's scheme.
void append_utf8(std::string &text, std::uint32_t code);

// Reads the code point at `at` and moves behind it. A byte that begins none is 0xDC00 plus the byte, as in Python's
// surrogateescape; halves of surrogate pairs are read as they are.
std::uint32_t next_code(std::string_view text, std::size_t &at);

}  // namespace wrn
