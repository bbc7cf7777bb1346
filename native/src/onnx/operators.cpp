#include "onnx/operators.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

#include "text/format.hpp"

namespace wrn::onnx {
namespace {

// The spatial sizes after a Conv or a pool.
Shape windows(const Node &node, const Shape &shape, const Shape &kernel) {
  if (shape.size() < 2) throw Misfit{"a rank of " + std::to_string(shape.size())};
  const std::size_t rank = shape.size() - 2;
  const auto numbers = [&](std::string_view name, std::size_t size, std::int64_t usual) {
    const Shape *found = option(node, name);
    return found == nullptr || found->empty() ? Shape(size, usual) : *found;
  };
  const Shape strides = numbers("strides", rank, 1), dilations = numbers("dilations", rank, 1);
  const Shape pads = numbers("pads", 2 * rank, 0);
  const auto below = [](const Shape &given, std::int64_t least) {
    return std::any_of(given.begin(), given.end(), [least](std::int64_t each) { return each < least; });
  };
  if (kernel.size() != rank || strides.size() != rank || dilations.size() != rank || pads.size() != 2 * rank ||
      below(strides, 1) || below(dilations, 1) || below(kernel, 1) || below(pads, 0))
    throw Misfit{"kernel " + tuple(kernel) + ", strides " + tuple(strides) + ", pads " + tuple(pads)};
  const auto padding = node.strings.find("auto_pad");
  const bool automatic = padding != node.strings.end() && padding->second != "NOTSET";
  const bool rounds_up = option(node, "ceil_mode", 0) != 0;
  Shape sizes;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const std::int64_t size = shape[axis + 2];
    if (automatic) {
      sizes.push_back(up(size, strides[axis]));
      continue;
    }
    const std::int64_t padded = plus(plus(size, pads[axis]), pads[axis + rank]);
    const std::int64_t rest = padded - plus(times(dilations[axis], kernel[axis] - 1), 1);
    const std::int64_t steps = rounds_up ? up(rest, strides[axis]) : down(rest, strides[axis]);
    sizes.push_back(std::max<std::int64_t>(0, steps + 1));
  }
  return sizes;
}

Shapes conv(const Node &node, const Shapes &inputs, const Known &) {
  const Shape &images = first(inputs), &weights = first(inputs, 1);
  if (weights.size() < 2) throw Misfit{"weights of rank " + std::to_string(weights.size())};
  return {followed({at(images, 0), weights[0]}, windows(node, images, Shape(weights.begin() + 2, weights.end())))};
}

Shapes pool(const Node &node, const Shapes &inputs, const Known &) {
  const Shape &shape = first(inputs), *kernel = option(node, "kernel_shape");
  if (kernel == nullptr) throw Misfit{"no kernel_shape"};
  return Shapes(node.outputs.size(), followed({at(shape, 0), at(shape, 1)}, windows(node, shape, *kernel)));
}

Shapes global_pool(const Node &, const Shapes &inputs, const Known &) {
  Shape made = first(inputs);
  if (made.size() < 2) throw Misfit{"a rank of " + std::to_string(made.size())};
  std::fill(made.begin() + 2, made.end(), 1);
  return {made};
}

Shapes reduce(const Node &node, const Shapes &inputs, const Known &known) {
  const Shape &shape = first(inputs);
  const auto gone = axes(node, shape.size(), known);
  const bool keeps = option(node, "keepdims", 1) != 0;
  Shape made;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    if (gone && !gone->empty() && gone->count(axis) == 0)
      made.push_back(shape[axis]);
    else if (keeps)
      made.push_back(1);
  return {made};
}

Shapes squeeze(const Node &node, const Shapes &inputs, const Known &known) {
  const Shape &shape = first(inputs);
  const auto gone = axes(node, shape.size(), known);
  Shape made;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    if (shape[axis] != 1 || (gone && gone->count(axis) == 0)) made.push_back(shape[axis]);
  return {made};
}

Shapes unsqueeze(const Node &node, const Shapes &inputs, const Known &known) {
  const Shape &shape = first(inputs), *given = known.size() > 1 ? known[1] : option(node, "axes");
  if (given == nullptr) throw Misfit{"axes that are not a constant"};
  const std::size_t rank = shape.size() + given->size();
  const auto made_of_one = axes(node, rank, known);
  Shape made;
  auto rest = shape.begin();
  for (std::size_t axis = 0; axis < shape.size() + given->size(); ++axis)
    if (made_of_one && made_of_one->count(axis) != 0)
      made.push_back(1);
    else if (rest != shape.end())
      made.push_back(*rest++);
    else
      throw Misfit{"axes that are there twice"};
  return {made};
}

Shapes flatten(const Node &node, const Shapes &inputs, const Known &) {
  const Shape &shape = first(inputs);
  const std::int64_t axis = option(node, "axis", 1);
  const auto size = static_cast<std::int64_t>(shape.size());
  const auto middle = shape.begin() + std::clamp<std::int64_t>(axis < 0 ? axis + size : axis, 0, size);
  const auto together = [](const Shape &sizes) { return static_cast<std::int64_t>(count(sizes)); };
  return {{together(Shape(shape.begin(), middle)), together(Shape(middle, shape.end()))}};
}

Shapes reshape(const Node &node, const Shapes &inputs, const Known &known) {
  const Shape &shape = first(inputs), *wanted = known.size() > 1 ? known[1] : nullptr;
  if (wanted == nullptr || shape.empty()) throw Misfit{"a shape that is not a constant"};
  const bool copies = option(node, "allowzero", 0) == 0;
  Shape made;
  std::int64_t rest = static_cast<std::int64_t>(count(shape)), holes = 0, filled = 1;
  for (std::size_t axis = 0; axis < wanted->size(); ++axis) {
    made.push_back((*wanted)[axis] == 0 && copies ? at(shape, axis) : (*wanted)[axis]);
    if (made.back() == -1)
      ++holes;
    else
      filled = times(filled, made.back());
  }
  for (std::int64_t &size : made)
    if (size == -1 && filled != 0) size = rest / filled;
  if (holes > 1 || std::any_of(made.begin(), made.end(), [](std::int64_t size) { return size < 0; }) ||
      count(made) != count(shape))
    throw Misfit{tuple(shape) + " to " + tuple(*wanted)};
  return {made};
}

Shapes transpose(const Node &node, const Shapes &inputs, const Known &) {
  const Shape &shape = first(inputs);
  Shape order(shape.size());
  std::iota(order.rbegin(), order.rend(), 0);
  if (const Shape *given = option(node, "perm")) order = *given;
  Shape sorted = order, made;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t axis = 0; axis < sorted.size(); ++axis)
    if (sorted.size() != shape.size() || sorted[axis] != static_cast<std::int64_t>(axis))
      throw Misfit{"order " + tuple(order)};
  for (const std::int64_t axis : order) made.push_back(shape[static_cast<std::size_t>(axis)]);
  return {made};
}

Shapes matmul(const Node &, const Shapes &inputs, const Known &) {
  const Shape &a = first(inputs), &b = first(inputs, 1);
  if (a.size() < 2 || b.size() < 2) throw Misfit{tuple(a) + " by " + tuple(b)};
  Shape made = broadcast({Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2)});
  return {followed(std::move(made), {a[a.size() - 2], b.back()})};
}

Shapes gemm(const Node &node, const Shapes &inputs, const Known &) {
  const Shape &a = first(inputs), &b = first(inputs, 1);
  if (a.size() != 2 || b.size() != 2) throw Misfit{tuple(a) + " by " + tuple(b)};
  return {{option(node, "transA", 0) != 0 ? a[1] : a[0], option(node, "transB", 0) != 0 ? b[0] : b[1]}};
}

Shapes concat(const Node &node, const Shapes &inputs, const Known &) {
  if (option(node, "axis") == nullptr) throw Misfit{"no axis"};
  Shape made = first(inputs);
  const std::size_t axis = axis_of(option(node, "axis", 0), made.size());
  made[axis] = 0;
  for (const Shape &shape : inputs) made[axis] = plus(made[axis], at(shape, axis));
  return {made};
}

Shapes pad(const Node &node, const Shapes &inputs, const Known &known) {
  Shape made = first(inputs);
  const Shape *pads = known.size() > 1 ? known[1] : option(node, "pads");
  if (pads == nullptr || node.inputs.size() > 3 || pads->size() != 2 * made.size()) throw Misfit{"pads"};
  const std::size_t rank = made.size();
  for (std::size_t axis = 0; axis < rank; ++axis)
    made[axis] = std::max<std::int64_t>(0, plus(plus(made[axis], (*pads)[axis]), (*pads)[axis + rank]));
  return {made};
}

Shapes space_to_depth(const Node &node, const Shapes &inputs, const Known &) {
  const std::int64_t block = option(node, "blocksize", 0);
  const Shape &shape = first(inputs);
  if (shape.size() != 4 || block < 1) throw Misfit{"blocks of " + std::to_string(block)};
  return {{shape[0], times(times(shape[1], block), block), shape[2] / block, shape[3] / block}};
}

Shapes top_k(const Node &node, const Shapes &inputs, const Known &known) {
  Shape made = first(inputs);
  const Shape *wanted = known.size() > 1 ? known[1] : nullptr;
  const std::size_t axis = axis_of(option(node, "axis", -1), made.size());
  if (wanted == nullptr || wanted->empty() || (*wanted)[0] < 0 || (*wanted)[0] > made[axis])
    throw Misfit{"k of " + tuple(made)};
  made[axis] = (*wanted)[0];
  return {made, made};
}

Shapes same(const Node &, const Shapes &inputs, const Known &) { return {first(inputs)}; }
Shapes together(const Node &, const Shapes &inputs, const Known &) { return {broadcast(inputs)}; }
Shapes constant(const Node &node, const Shapes &, const Known &) {
  if (node.constants.empty()) throw Misfit{"no value"};
  return {node.constants[0].dims};
}

}  // namespace

Rule find_rule(const Node &node) {
  static const std::map<std::string, Rule, std::less<>> known = {
      {"Abs", same}, {"Add", together}, {"AveragePool", pool}, {"BatchNormalization", same}, {"Cast", same},
      {"Clip", same}, {"Concat", concat}, {"Constant", constant}, {"Conv", conv}, {"DequantizeLinear", same},
      {"Div", together}, {"Elu", same}, {"Exp", same}, {"Flatten", flatten}, {"Gemm", gemm},
      {"GlobalAveragePool", global_pool}, {"GlobalMaxPool", global_pool}, {"HardSigmoid", same}, {"HardSwish", same},
      {"Identity", same}, {"LeakyRelu", same}, {"Log", same}, {"LogSoftmax", same}, {"MatMul", matmul},
      {"Max", together}, {"MaxPool", pool}, {"Min", together}, {"Mul", together}, {"Neg", same}, {"Pad", pad},
      {"Pow", together}, {"QuantizeLinear", same}, {"Reciprocal", same}, {"ReduceMax", reduce},
      {"ReduceMean", reduce}, {"ReduceSum", reduce}, {"Relu", same}, {"Reshape", reshape}, {"Sigmoid", same},
      {"Softmax", same}, {"SpaceToDepth", space_to_depth}, {"Sqrt", same}, {"Squeeze", squeeze}, {"Sub", together},
      {"Tanh", same}, {"TopK", top_k}, {"Transpose", transpose}, {"Unsqueeze", unsqueeze}};
  const bool standard = node.domain.empty() || node.domain == "ai.onnx";
  const auto found = standard ? known.find(node.op_type) : known.end();
  return found == known.end() ? nullptr : found->second;
}

}  // namespace wrn::onnx
