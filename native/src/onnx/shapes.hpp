// shapes.hpp: arithmetic on shapes that never overflows, and what an operator's node says of its axes.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/wire.hpp"

namespace wrn::onnx {

using Shapes = std::vector<Shape>;
using Known = std::vector<const Shape *>;  // the constant values of the inputs; null: not a constant

constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;

// Shapes that do not fit the operator; thrown by all that follows.
struct Misfit {
  std::string why;
};

// The number of elements, at most kHuge.
std::uint64_t count(const Shape &shape);

std::int64_t plus(std::int64_t a, std::int64_t b);
std::int64_t times(std::int64_t a, std::int64_t b);
std::int64_t up(std::int64_t a, std::int64_t b);    // a / b, rounded up
std::int64_t down(std::int64_t a, std::int64_t b);  // a / b, rounded down

const Shape &first(const Shapes &inputs, std::size_t index = 0);
std::int64_t at(const Shape &shape, std::size_t index);
Shape broadcast(const Shapes &inputs);
Shape followed(Shape start, const Shape &rest);

// A node's attribute of integers: the first of them, or `usual`; all of them, or null.
std::int64_t option(const Node &node, std::string_view name, std::int64_t usual);
const Shape *option(const Node &node, std::string_view name);

bool has_input(const Node &node, std::size_t index);
std::size_t axis_of(std::int64_t axis, std::size_t rank);
// The axes, of the second input or, before opset 13 or 18, of the attribute.
std::optional<std::set<std::size_t>> axes(const Node &node, std::size_t rank, const Known &known);

}  // namespace wrn::onnx
