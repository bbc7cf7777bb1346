#include "onnx/wire.hpp"

#include <algorithm>

#include "bundle/budget.hpp"
#include "error.hpp"
#include "text/format.hpp"

namespace wrn::onnx {
namespace {

constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;  // protobuf's wire types
constexpr std::uint64_t kFields = 16;                               // in a node and what belongs to it, on average
constexpr std::size_t kTagBytes = 5, kVarintBytes = 10, kSmall = 1024;
constexpr std::int64_t kInt64 = 7;  // its number among the types
// Fields of a TensorProto in onnx.proto3.
constexpr std::uint64_t kInt64Data = 7, kRawData = 9;

struct Span {
  std::size_t start, end;
};

struct Field {
  std::uint64_t number;
  int kind;
  std::uint64_t value;  // of a varint
  Span bytes;           // of any other kind; the end of a varint
};

// Walks the protobuf encoding; numbers of fields are those of onnx.proto3. What a graph in a node holds is judged by
// being there: it is counted, and its own constants are not read.
class Reader {
 public:
  Reader(std::string_view data, const std::string &name) : data_(data), name_(name), budget_(read_budget()) {}

  Model model() {
    each({0, data_.size()}, [this](const Field &field) {
      if (field.kind != kBytes) return;
      if (field.number == 7) ++made_.graphs, graph(field.bytes);
      if (field.number == 20) ++made_.training;
      if (field.number == 25) ++made_.functions;
    });
    return std::move(made_);
  }

 private:
  [[noreturn]] void fail(const std::string &what) const {
    throw Unfit(name_ + " is not an ONNX file (" + what + "): expected an intact ONNX file; copy or export it again");
  }

  void add(std::uint64_t count) {
    fields_ += count;
    if (fields_ > kFields * budget_.parts) budget_.check_parts(fields_ / kFields + 1, name_);
  }
  void add_part() {
    if (++parts_ > budget_.parts) budget_.check_parts(parts_, name_);
  }

  std::uint64_t varint(std::size_t &place, std::size_t end, std::size_t most) const {
    std::uint64_t value = 0;
    const std::size_t start = place;
    for (std::size_t shift = 0; place < std::min(end, start + most); shift += 7) {
      const auto byte = static_cast<unsigned char>(data_[place++]);
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    fail("a number without an end at byte " + std::to_string(start));
  }

  template <class Take>
  void each(Span span, Take &&take) {
    for (std::size_t place = span.start; place < span.end;) {
      const std::uint64_t tag = varint(place, span.end, kTagBytes);
      add(1);
      Field field{tag >> 3, static_cast<int>(tag & 7), 0, {place, place}};
      if (field.number == 0 || tag >= std::uint64_t{1} << 32)
        fail("field " + std::to_string(field.number) + " at byte " + std::to_string(place));
      std::uint64_t length = 0;
      switch (field.kind) {
        case kVarint: field.value = varint(place, span.end, kVarintBytes); break;
        case kBytes: length = varint(place, span.end, kVarintBytes); break;
        case kFixed64: length = 8; break;
        case kFixed32: length = 4; break;
        default: fail("wire type " + std::to_string(field.kind) + " at byte " + std::to_string(place));
      }
      if (length > span.end - place)
        fail("a field of " + grouped(length) + " bytes at byte " + std::to_string(place) + ", but fewer are left");
      field.bytes = {place, place + static_cast<std::size_t>(length)};
      place = field.bytes.end;
      take(field);
    }
  }

  std::string text(Span span) const {
    const std::string_view bytes = data_.substr(span.start, span.end - span.start);
    if (const auto fault = utf8_fault(bytes)) fail(*fault);
    return std::string(bytes);
  }

  void integers(const Field &field, Shape &into) {
    if (field.kind == kVarint) return into.push_back(static_cast<std::int64_t>(field.value));
    for (std::size_t place = field.bytes.start; place < field.bytes.end;) {
      into.push_back(static_cast<std::int64_t>(varint(place, field.bytes.end, kVarintBytes)));
      add(1);
    }
  }

  void graph(Span span) {
    each(span, [this](const Field &field) {
      if (field.kind != kBytes) return;
      if (field.number == 1) made_.nodes.push_back(node(field.bytes));
      if (field.number == 5) made_.constants.push_back(constant(field.bytes));
      if (field.number == 11) input(field.bytes);
      if (field.number == 15) ++made_.sparse;
    });
  }

  Node node(Span span) {
    add_part();
    Node made;
    each(span, [&](const Field &field) {
      if (field.kind != kBytes) return;
      if (field.number == 1) made.inputs.push_back(text(field.bytes));
      if (field.number == 2) made.outputs.push_back(text(field.bytes));
      if (field.number == 4) made.op_type = text(field.bytes);
      if (field.number == 5) attribute(made, field.bytes);
      if (field.number == 7) made.domain = text(field.bytes);
    });
    made_.branches += made.graphs, made_.sparse += made.sparse;
    return made;
  }

  // Adds an attribute to its node; its name may come after its value.
  void attribute(Node &node, Span span) {
    std::string name, value;
    Shape numbers;
    each(span, [&](const Field &field) {
      if ((field.number == 3 || field.number == 8) && (field.kind == kVarint || field.kind == kBytes)) {
        integers(field, numbers);
      } else if (field.kind == kBytes && field.number == 1) {
        name = text(field.bytes);
      } else if (field.kind == kBytes && field.number == 4) {
        value = data_.substr(field.bytes.start, std::min(field.bytes.end - field.bytes.start, kSmall));
      } else if (field.kind == kBytes && (field.number == 5 || field.number == 10)) {
        node.constants.push_back(constant(field.bytes));
      } else if (field.kind == kBytes && (field.number == 6 || field.number == 11)) {
        ++node.graphs;
      } else if (field.kind == kBytes && (field.number == 22 || field.number == 23)) {
        ++node.sparse;
      }
    });
    if (!numbers.empty()) node.ints[name] = numbers;
    if (!value.empty()) node.strings[name] = value;
  }

  Constant constant(Span span) {
    add_part();
    Constant made;
    Shape numbers;
    std::size_t raw_start = 0;
    const auto holds_data = [](std::uint64_t number) {
      return number == 4 || number == 5 || number == 6 || number == kInt64Data || number == 10 || number == 11;
    };
    each(span, [&](const Field &field) {
      const std::size_t length = field.bytes.end - field.bytes.start;
      if (field.number == 1) {
        integers(field, made.dims);
      } else if (holds_data(field.number)) {
        made.payload += field.kind == kBytes ? length + 1 : 8;
        if (field.number == kInt64Data && (field.kind != kBytes || length <= kSmall * kVarintBytes))
          integers(field, numbers);
      } else if (field.kind == kVarint) {
        if (field.number == 2) made.type = static_cast<std::int64_t>(field.value);
        if (field.number == 14 && field.value != 0) made.external = true;
      } else if (field.kind == kBytes) {
        if (field.number == 8) made.name = text(field.bytes);
        if (field.number == kRawData) made.raw = length, raw_start = field.bytes.start;
        if (field.number == 13) made.external = true;
      }
    });
    made.payload += made.raw.value_or(0);
    if (made.external) ++made_.external;
    if (made.type == kInt64) {
      if (numbers.empty() && made.raw && *made.raw <= kSmall * 8)
        for (std::size_t at = 0; at + 8 <= *made.raw; at += 8) numbers.push_back(little_endian(raw_start + at));
      made.numbers = numbers;
    }
    return made;
  }

  std::int64_t little_endian(std::size_t at) const {
    std::uint64_t value = 0;
    for (std::size_t byte = 0; byte < 8; ++byte)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(data_[at + byte])) << (8 * byte);
    return static_cast<std::int64_t>(value);
  }

  // Name and shape of a ValueInfoProto: 2 type, 1 tensor_type, 2 shape, 1 dim, 1 dim_value.
  void input(Span span) {
    std::string name;
    std::vector<std::optional<std::int64_t>> shape;
    const auto inside = [this](Span outer, std::uint64_t wanted, auto &&take) {
      each(outer, [&](const Field &field) {
        if (field.kind == kBytes && field.number == wanted) take(field.bytes);
      });
    };
    inside(span, 1, [&](Span bytes) { name = text(bytes); });
    inside(span, 2, [&](Span type) {
      inside(type, 1, [&](Span tensor) {
        inside(tensor, 2, [&](Span sizes) {
          shape.clear();
          inside(sizes, 1, [&](Span dim) {
            shape.emplace_back();
            each(dim, [&](const Field &field) {
              if (field.number == 1 && field.kind == kVarint) shape.back() = static_cast<std::int64_t>(field.value);
            });
          });
        });
      });
    });
    made_.inputs[name] = shape;
  }

  std::string_view data_;
  const std::string &name_;
  Budget budget_;
  Model made_;
  std::uint64_t fields_ = 0, parts_ = 0;
};

}  // namespace

Model read_model(std::string_view data, const std::string &name) { return Reader(data, name).model(); }

}  // namespace wrn::onnx
