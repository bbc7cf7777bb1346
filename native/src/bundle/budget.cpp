#include "bundle/budget.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "error.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

constexpr const char *kDefaults =
    "text_bytes=268435456, download_bytes=4294967296, image_bytes=268435456, pixels=100000000, members=20000000, "
    "memory_bytes=17179869184, ratio=200, parts=500000, nesting=100, seconds=60, links=0";
constexpr std::uint64_t kInflatesFreely = std::uint64_t{64} << 20;
constexpr double kLargestShown = 1e18, kMost = 1e18, kMostSeconds = 1e9;

// A round number of at least `amount`, as in 2e8 written out.
std::string suggested(std::uint64_t amount) {
  if (static_cast<double>(amount) >= kLargestShown) return "NUMBER";
  std::uint64_t power = 1;
  while (power < amount / 10 + (amount % 10 != 0)) power *= 10;
  return std::to_string((amount / power + (amount % power != 0)) * power);
}

void check(std::uint64_t amount, std::uint64_t most, const char *name, const char *unit, const std::string &what) {
  if (amount <= most) return;
  const std::string found =
      static_cast<double>(amount) < kLargestShown ? grouped(amount) : std::string("more than 1e+18");
  throw Unfit(what + " needs " + found + " " + unit + ": the limit is " + grouped(most) +
              "; if you trust the file, raise it with `wrn-deploy --limit " + name + "=" + suggested(amount) +
              " ...` or WRN_DEPLOY_LIMITS=" + name + "=" + suggested(amount));
}

std::string_view trimmed(std::string_view text) {
  const std::size_t from = text.find_first_not_of(" \t\n\r\f\v");
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\n\r\f\v") - from + 1);
}

}  // namespace

void Budget::check_text_bytes(std::uint64_t amount, const std::string &what) const {
  check(amount, text_bytes, "text_bytes", "bytes of text", what);
}
void Budget::check_members(std::uint64_t amount, const std::string &what) const {
  check(amount, members, "members", "members", what);
}
void Budget::check_parts(std::uint64_t amount, const std::string &what) const {
  check(amount, parts, "parts", "parts to keep in memory", what);
}
void Budget::check_nesting(std::uint64_t amount, const std::string &what) const {
  check(amount, nesting, "nesting", "levels of nesting", what);
}
void Budget::check_memory_bytes(std::uint64_t amount, const std::string &what) const {
  check(amount, memory_bytes, "memory_bytes", "bytes in memory", what);
}

void Budget::check_inflated(std::uint64_t inflated, std::uint64_t compressed, const std::string &what) const {
  check_memory_bytes(inflated, what);
  if (inflated <= kInflatesFreely) return;
  const std::uint64_t size = std::max<std::uint64_t>(1, compressed);
  check(inflated / size + (inflated % size != 0), ratio, "ratio", "times the size of the file, inflated", what);
}

Budget read_budget() {
  Budget made;
  const char *given = std::getenv("WRN_DEPLOY_LIMITS");
  std::string_view rest = given != nullptr ? given : "";
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = trimmed(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (part.empty()) continue;
    const std::size_t mark = std::min(part.find('='), part.size());
    const std::string_view name = part.substr(0, mark), text = trimmed(part.substr(std::min(mark + 1, part.size())));
    double value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = read.ec == std::errc() && read.ptr == text.data() + text.size() &&
                       std::isfinite(value) && value >= 1 &&
                       (name == "seconds" ? value < kMostSeconds + 1 : value <= kMost);
    std::uint64_t unused = 0;
    std::uint64_t *const limit = name == "text_bytes"     ? &made.text_bytes
                                 : name == "members"      ? &made.members
                                 : name == "parts"        ? &made.parts
                                 : name == "memory_bytes" ? &made.memory_bytes
                                 : name == "ratio"        ? &made.ratio
                                 : name == "nesting"      ? &made.nesting
                                 : name == "download_bytes" || name == "image_bytes" || name == "pixels" ||
                                         name == "seconds" || name == "links"
                                     ? &unused
                                     : nullptr;
    if (limit == nullptr || !whole)
      throw Error(WRN_USAGE, "limit " + quoted(part) +
                                 ": expected NAME=NUMBER with a number from 1 to 1e18, of seconds to 1e9; defaults: " +
                                 kDefaults);
    *limit = static_cast<std::uint64_t>(value);
  }
  return made;
}

}  // namespace wrn
