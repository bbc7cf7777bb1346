#include "onnx/graph.hpp"

#include <array>
#include <utility>
#include <vector>

#include "onnx/sizes.hpp"
#include "onnx/wire.hpp"
#include "error.hpp"
#include "text/format.hpp"

namespace wrn {
namespace {

// ONNX's data types by their number in onnx.proto3, as bits of an element; 0: unknown or of no fixed size.
constexpr std::array<std::uint64_t, 27> kBits = {0,  32, 8,  8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64,
                                                 64, 128, 16, 8, 8,  8,  8,  4,  4, 4, 8,  2,  2};
constexpr const char *kCopy = "expected an intact ONNX file; copy or export it again";

void check_constant(const onnx::Constant &constant, const std::string &name) {
  std::uint64_t elements = 1;
  bool fits = true;
  for (const std::int64_t size : constant.dims) {
    if (size < 0)
      throw Unfit(name + " is damaged: the constant " + quoted(constant.name) + " has the shape [" +
                  tuple(constant.dims) + "]: " + kCopy);
    fits = fits && !__builtin_mul_overflow(elements, static_cast<std::uint64_t>(size), &elements);
  }
  const auto type = static_cast<std::size_t>(constant.type);
  const std::uint64_t bits = constant.type > 0 && type < kBits.size() ? kBits[type] : 0;
  if (constant.raw && bits != 0)
    fits = fits && elements <= UINT64_MAX / bits && *constant.raw == elements * bits / 8 + (elements * bits % 8 != 0);
  else
    fits = fits && elements / 4 + (elements % 4 != 0) <= constant.payload;  // the smallest type has 2 bits
  if (fits) return;
  std::vector<std::string> dims;
  for (const std::int64_t size : constant.dims) dims.push_back(std::to_string(size));
  throw Unfit(name + " is damaged: the constant " + quoted(constant.name) + " of shape [" + joined(dims) + "] has " +
              grouped(constant.payload) + " bytes: " + kCopy);
}

}  // namespace

void check_graph(std::string_view data, const std::string &name) {
  if (data.empty()) throw Unfit(name + " is empty: " + kCopy);
  const onnx::Model model = onnx::read_model(data, name);
  std::vector<std::string> odd;
  const std::pair<const char *, std::uint64_t> counted[] = {{"functions", model.functions},
                                                            {"training data", model.training},
                                                            {"loops or branches", model.branches},
                                                            {"sparse tensors", model.sparse},
                                                            {"external data", model.external}};
  for (const auto &[what, count] : counted)
    if (count > 0) odd.emplace_back(what);
  if (!odd.empty())
    throw Unfit(name + " has " + joined(odd, " and ") +
                ", which no graph of a bundle has: expected a graph that wrn-deploy exported; export the model again, "
                "and do not trust this one");
  for (const onnx::Constant &constant : model.constants) check_constant(constant, name);
  for (const onnx::Node &node : model.nodes)
    for (const onnx::Constant &constant : node.constants) check_constant(constant, name);
  onnx::check_sizes(model, data.size(), name);
}

}  // namespace wrn
