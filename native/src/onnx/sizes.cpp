#include "onnx/sizes.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "bundle/budget.hpp"
#include "error.hpp"
#include "onnx/operators.hpp"
#include "text/format.hpp"

namespace wrn::onnx {
namespace {

constexpr std::uint64_t kElementBytes = 4;  // of float32, the widest type that tensors of images have

// The matrix that a Conv multiplies its weights with: each position's window, side by side.
std::uint64_t columns(const Node &node, const Shapes &inputs, const Shapes &made) {
  if (node.op_type != "Conv") return 0;
  Shape sizes(inputs[1].begin() + 1, inputs[1].end());
  sizes.insert(sizes.end(), made[0].begin() + 2, made[0].end());
  return count(sizes);
}

// What is known of the tensors so far: their shapes for one image, and the values of those that say a shape.
struct Tensors {
  std::map<std::string, Shape, std::less<>> shapes, numbers;

  Shapes inputs(const Node &node) const {
    Shapes found;
    for (const std::string &name : node.inputs) {
      if (name.empty()) continue;
      const auto shape = shapes.find(name);
      if (shape == shapes.end()) throw Misfit{quoted(name)};
      found.push_back(shape->second);
    }
    return found;
  }
  Known known(const Node &node) const {
    Known found;
    for (const std::string &name : node.inputs) {
      const auto value = numbers.find(name);
      found.push_back(value == numbers.end() ? nullptr : &value->second);
    }
    return found;
  }
};

Tensors start(const Model &model, const std::string &name) {
  Tensors all;
  for (const Constant &each : model.constants) {
    all.shapes[each.name] = each.dims;
    if (each.numbers) all.numbers[each.name] = *each.numbers;
  }
  for (const auto &[source, sizes] : model.inputs) {
    if (all.shapes.count(source) != 0) continue;
    Shape shape = {1};
    bool fixed = !sizes.empty() && sizes[0].value_or(0) >= 0;
    for (std::size_t axis = 1; axis < sizes.size(); ++axis) {
      fixed = fixed && sizes[axis].value_or(-1) >= 0;
      shape.push_back(sizes[axis].value_or(0));
    }
    if (!fixed)
      throw Unfit(name + " has the input " + quoted(source) + " of shape " + tuple(shape) +
                  ": expected fixed sizes after the batch");
    all.shapes[source] = shape;
  }
  return all;
}

}  // namespace

void check_sizes(const Model &model, std::uint64_t size_bytes, const std::string &name) {
  const Budget budget = read_budget();
  Tensors all = start(model, name);
  std::uint64_t proportion = size_bytes, total = 0;
  for (const auto &input : model.inputs)
    proportion = std::min(kHuge, proportion + kElementBytes * std::min(kHuge, count(all.shapes[input.first])));
  for (const Node &node : model.nodes) {
    const Rule rule = find_rule(node);
    if (rule == nullptr)
      throw Unfit(name + " has the operator " + (node.domain.empty() ? "ai.onnx" : node.domain) + "." + node.op_type +
                  ", which no graph of a bundle has: expected a graph that wrn-deploy exported; export the model "
                  "again, and do not trust this one");
    std::uint64_t largest = 0;
    Shapes made;
    try {
      const Shapes inputs = all.inputs(node);
      made = rule(node, inputs, all.known(node));
      largest = columns(node, inputs, made);
      for (const Shape &shape : made) {
        largest = std::max(largest, count(shape));
        total = std::min(kHuge, total + kElementBytes * count(shape));
      }
    } catch (const Misfit &misfit) {
      throw Unfit(name + " has a " + node.op_type + " whose inputs do not fit (" + misfit.why +
                  "): expected a graph that wrn-deploy exported; export the model again");
    }
    budget.check_inflated(std::min(kHuge, kElementBytes * largest), proportion, "a " + node.op_type + " of " + name);
    budget.check_memory_bytes(total, name);
    for (std::size_t at = 0; at < std::min(node.outputs.size(), made.size()); ++at) {
      all.shapes[node.outputs[at]] = made[at];
      if (node.op_type == "Constant") all.numbers[node.outputs[at]] = node.constants[0].numbers.value_or(Shape());
    }
  }
}

}  // namespace wrn::onnx
