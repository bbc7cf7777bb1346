// classify BUNDLE IMAGES [PRECISION]: the best class of each image, by several threads on one runner.
//
// IMAGES is a file of raw pixels: uint8, RGB, one image of the network's size after another.

#include <wrn_runner.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <future>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::int64_t batch = 8;

// Throws what a call had to say, unless it went well.
void check(std::int32_t status) {
  if (status != WRN_OK) throw std::runtime_error(wrn_last_error());
}

// Closes the runner when it goes out of scope.
class Runner {
 public:
  Runner(const char *bundle, const char *precision) {
    wrn_options options{};
    options.size = sizeof options;
    options.precision = precision;
    check(wrn_open(bundle, &options, &handle_));
    input_.size = output_.size = sizeof(wrn_tensor);
    check(wrn_input(handle_, WRN_UINT8, &input_));
    check(wrn_output(handle_, 0, &output_));
    if (output_.dtype != WRN_FLOAT32 || output_.rank != 1) throw std::runtime_error("this bundle has no logits");
  }
  ~Runner() { wrn_close(handle_); }
  Runner(const Runner &) = delete;
  Runner &operator=(const Runner &) = delete;

  std::size_t image_bytes() const { return input_.image_bytes; }
  std::size_t classes() const { return static_cast<std::size_t>(output_.shape[0]); }

  // Logits of `count` images; may be called by several threads at once.
  std::vector<float> logits(const std::uint8_t *pixels, std::int64_t count) const {
    std::vector<float> results(static_cast<std::size_t>(count) * classes());
    const wrn_images images{pixels, static_cast<std::size_t>(count) * image_bytes(), count, WRN_UINT8};
    const wrn_buffer into{results.data(), results.size() * sizeof(float)};
    check(wrn_infer(handle_, &images, &into, 1));
    return results;
  }

  // The name of a class, or its number if it has none.
  std::string label(std::int64_t index) const {
    std::size_t needed = 0;
    check(wrn_text(handle_, WRN_TEXT_LABEL, index, nullptr, 0, &needed));
    std::vector<char> text(needed);
    check(wrn_text(handle_, WRN_TEXT_LABEL, index, text.data(), text.size(), nullptr));
    return needed > 1 ? text.data() : std::to_string(index);
  }

 private:
  wrn_runner handle_ = 0;
  wrn_tensor input_{}, output_{};
};

std::vector<std::uint8_t> read(const char *path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  return std::vector<std::uint8_t>(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void classify(const char *bundle, const char *path, const char *precision) {
  const Runner runner(bundle, precision);
  const std::vector<std::uint8_t> pixels = read(path);
  const auto total = static_cast<std::int64_t>(pixels.size() / runner.image_bytes());
  std::vector<std::future<std::vector<float>>> parts;
  for (std::int64_t start = 0; start < total; start += batch) {
    const std::uint8_t *first = pixels.data() + static_cast<std::size_t>(start) * runner.image_bytes();
    const std::int64_t count = std::min(batch, total - start);
    parts.push_back(std::async(std::launch::async, [&runner, first, count] { return runner.logits(first, count); }));
  }
  std::int64_t image = 0;
  for (auto &part : parts) {
    const std::vector<float> logits = part.get();
    for (auto row = logits.begin(); row != logits.end(); row += static_cast<std::ptrdiff_t>(runner.classes())) {
      const auto best = std::max_element(row, row + static_cast<std::ptrdiff_t>(runner.classes()));
      std::printf("image %lld: %s (%.3f)\n", static_cast<long long>(image++), runner.label(best - row).c_str(),
                  static_cast<double>(*best));
    }
  }
}

}  // namespace

int main(int count, char **arguments) {
  if (count < 3 || count > 4) {
    std::fprintf(stderr, "usage: classify BUNDLE IMAGES [PRECISION]\n");
    return 2;
  }
  try {
    classify(arguments[1], arguments[2], count == 4 ? arguments[3] : nullptr);
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
