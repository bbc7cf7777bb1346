// arguments.hpp: checks what a C program passes: structures of other versions, sizes, NULL; finds what it asks for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "runner/runner.hpp"
#include "wrn_runner.h"

namespace wrn {

[[noreturn]] void usage(const std::string &text);

// The size of a structure of the caller's, of which the library has `room` bytes.
std::size_t size_of(const void *theirs, const char *name, std::size_t room);

// Reads a structure of the caller's, of another size if the caller has another version of the header.
wrn_options take(const wrn_options *theirs);

// Writes a structure of the caller's, except its size.
template <class T>
void put(T *theirs, const T &ours, std::size_t size) {
  constexpr std::size_t kSize = sizeof(std::size_t);
  std::memcpy(reinterpret_cast<char *>(theirs) + kSize, reinterpret_cast<const char *>(&ours) + kSize,
              std::min(size, sizeof ours) - kSize);
}

void fill(wrn_tensor *theirs, const Tensor &tensor, std::size_t size);

const char *dtype_name(std::int32_t dtype);
const Tensor &input_of(const Runner &runner, std::int32_t dtype);
const Tensor &output_of(const Runner &runner, std::int32_t index);
std::string text_of(const Runner &runner, std::int32_t kind, std::int64_t index);

// A text of the caller's, empty for NULL; `name` is for errors.
std::string utf8(const char *text, const char *name);

// The outputs' buffers of a call, which is checked: sizes, and no NULL.
std::vector<void *> checked(
    const Runner &runner, const wrn_images *images, const wrn_buffer *outputs, std::size_t n_outputs);

}  // namespace wrn
