#include "logger.hpp"

#include <utility>

namespace wrn {
namespace {

constexpr std::size_t kMostBytes = 2000;  // of the kept messages

thread_local std::string unread;

}  // namespace

void Logger::log(Severity severity, const char *text) noexcept try {
  if (severity > Severity::kERROR || text == nullptr || unread.size() > kMostBytes) return;
  unread += (unread.empty() ? "" : "; ") + std::string(text);
} catch (...) {  // no memory for it
}

Logger &logger() {
  static Logger *const made = new Logger;
  return *made;
}

std::string logged() {
  const std::string text = std::exchange(unread, {});
  return text.empty() ? "" : " (" + text + ")";
}

}  // namespace wrn
