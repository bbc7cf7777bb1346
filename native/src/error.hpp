// error.hpp: what every layer throws: a status of wrn_runner.h and a text. Caught at the C boundary alone.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "wrn_runner.h"

namespace wrn {

// A text says what was wrong, with the value, what was expected, and what to do; it is that of the Python runner.
class Error : public std::runtime_error {
 public:
  Error(std::int32_t status, const std::string &text) : std::runtime_error(text), status_(status) {}
  std::int32_t status() const noexcept { return status_; }

 private:
  std::int32_t status_;
};

// A file of a bundle is missing, stale or damaged: true for a moment if another process is writing the bundle.
class Unfit : public Error {
 public:
  explicit Unfit(const std::string &text) : Error(WRN_ERROR, text) {}
};

// The system refused to open or read a file.
class SystemError : public std::exception {
 public:
  SystemError(std::string file, int number) : file_(std::move(file)), number_(number) {}
  const std::string &file() const noexcept { return file_; }
  int number() const noexcept { return number_; }

 private:
  std::string file_;
  int number_;
};

}  // namespace wrn
