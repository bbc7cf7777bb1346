#include "onnx/shapes.hpp"

#include <algorithm>

namespace wrn::onnx {

const Shape &first(const Shapes &inputs, std::size_t index) {
  if (index >= inputs.size()) throw Misfit{"an input is missing"};
  return inputs[index];
}

std::int64_t at(const Shape &shape, std::size_t index) {
  if (index >= shape.size()) throw Misfit{"a rank of " + std::to_string(shape.size())};
  return shape[index];
}

std::int64_t plus(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) throw Misfit{"a size that is too large"};
  return sum;
}

std::int64_t times(std::int64_t a, std::int64_t b) {
  std::int64_t made = 0;
  if (__builtin_mul_overflow(a, b, &made)) throw Misfit{"a size that is too large"};
  return made;
}

std::int64_t up(std::int64_t a, std::int64_t b) { return a / b + (a % b > 0); }
std::int64_t down(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); }

std::int64_t option(const Node &node, std::string_view name, std::int64_t usual) {
  const auto found = node.ints.find(name);
  return found == node.ints.end() || found->second.empty() ? usual : found->second[0];
}

const Shape *option(const Node &node, std::string_view name) {
  const auto found = node.ints.find(name);
  return found == node.ints.end() ? nullptr : &found->second;
}

bool has_input(const Node &node, std::size_t index) {
  return index < node.inputs.size() && !node.inputs[index].empty();
}

std::size_t axis_of(std::int64_t axis, std::size_t rank) {
  const auto size = static_cast<std::int64_t>(rank);
  if (axis < -size || axis >= size) throw Misfit{"axis " + std::to_string(axis) + " of " + std::to_string(rank)};
  return static_cast<std::size_t>(axis < 0 ? axis + size : axis);
}

std::optional<std::set<std::size_t>> axes(const Node &node, std::size_t rank, const Known &known) {
  const Shape *given = has_input(node, 1) ? known[1] : option(node, "axes");
  if (given == nullptr && has_input(node, 1)) throw Misfit{"axes that are not a constant"};
  if (given == nullptr) return std::nullopt;
  std::set<std::size_t> made;
  for (const std::int64_t axis : *given) made.insert(axis_of(axis, rank));
  return made;
}

Shape broadcast(const Shapes &inputs) {
  Shape made;
  for (std::size_t back = 0;; ++back) {
    std::int64_t largest = 1;
    bool any = false, empty = false;
    for (const Shape &shape : inputs)
      if (back < shape.size()) {
        const std::int64_t size = shape[shape.size() - 1 - back];
        any = true, empty = empty || size == 0, largest = std::max(largest, size);
      }
    if (!any) return made;
    made.insert(made.begin(), empty ? 0 : largest);
  }
}

Shape followed(Shape start, const Shape &rest) {
  start.insert(start.end(), rest.begin(), rest.end());
  return start;
}

std::uint64_t count(const Shape &shape) {
  std::uint64_t total = 1;
  for (const std::int64_t size : shape) {
    if (size < 0) throw Misfit{"a size of " + std::to_string(size)};
    if (size == 0) return 0;
    if (__builtin_mul_overflow(total, static_cast<std::uint64_t>(size), &total) || total > kHuge) total = kHuge;
  }
  return total;
}

}  // namespace wrn::onnx
