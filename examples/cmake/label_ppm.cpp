// label_ppm BUNDLE IMAGE...: the three best classes of each image, with their probabilities.
//
// An image is a binary PPM (P6) of the network's size, as Pillow's `image.save("photo.ppm")` writes it. All images are one
// batch: the library splits it if the graph or plan takes fewer.

#include <wrn_runner.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

void check(std::int32_t status) {
  if (status != WRN_OK) throw std::runtime_error(wrn_last_error());
}

// Closes the runner when it goes out of scope.
class Runner {
 public:
  explicit Runner(const char *bundle) {
    wrn_options options{};
    options.size = sizeof options;
    check(wrn_open(bundle, &options, &handle_));
  }
  ~Runner() { wrn_close(handle_); }
  Runner(const Runner &) = delete;
  Runner &operator=(const Runner &) = delete;

  wrn_runner get() const { return handle_; }

 private:
  wrn_runner handle_ = 0;
};

// Appends the pixels of a PPM, which must have the network's size.
void read(const std::string &path, const wrn_description &network, std::vector<std::uint8_t> &pixels) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, most = 0;
  if (!(file >> kind >> width >> height >> most) || kind != "P6" || most != 255) {
    throw std::runtime_error("'" + path + "' is not a binary PPM with 255 levels (P6)");
  }
  if (width != network.width || height != network.height) {
    throw std::runtime_error("'" + path + "' is " + std::to_string(width) + "x" + std::to_string(height) +
                             ": expected " + std::to_string(network.width) + "x" + std::to_string(network.height));
  }
  file.ignore(1);  // the one white space after the header
  const auto bytes = static_cast<std::streamsize>(width) * height * 3;
  const std::size_t start = pixels.size();
  pixels.resize(start + static_cast<std::size_t>(bytes));
  if (!file.read(reinterpret_cast<char *>(pixels.data() + start), bytes)) {
    throw std::runtime_error("'" + path + "' ends too early");
  }
}

std::string label(wrn_runner runner, std::int64_t index) {
  std::size_t needed = 0;
  check(wrn_text(runner, WRN_TEXT_LABEL, index, nullptr, 0, &needed));
  std::string text(needed, '\0');
  check(wrn_text(runner, WRN_TEXT_LABEL, index, text.data(), text.size(), nullptr));
  text.resize(needed > 0 ? needed - 1 : 0);
  return text.empty() ? std::to_string(index) : text;
}

void print(wrn_runner runner, const char *path, const float *logits, std::size_t classes) {
  std::vector<std::size_t> order(classes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t shown = std::min<std::size_t>(3, classes);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                    [logits](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  double sum = 0;
  for (std::size_t at = 0; at < classes; ++at) sum += std::exp(static_cast<double>(logits[at] - logits[order[0]]));
  std::printf("%s:", path);
  for (std::size_t at = 0; at < shown; ++at) {
    std::printf(" %s %.4f", label(runner, static_cast<std::int64_t>(order[at])).c_str(),
                std::exp(static_cast<double>(logits[order[at]] - logits[order[0]])) / sum);
  }
  std::printf("\n");
}

void run(int count, char **arguments) {
  const Runner runner(arguments[1]);
  wrn_description network{};
  network.size = sizeof network;
  check(wrn_describe(runner.get(), &network));
  std::vector<std::uint8_t> pixels;
  for (int at = 2; at < count; ++at) read(arguments[at], network, pixels);
  const auto classes = static_cast<std::size_t>(network.classes);
  std::vector<float> logits(classes * static_cast<std::size_t>(count - 2));
  const wrn_images images{pixels.data(), pixels.size(), count - 2, WRN_UINT8};
  const wrn_buffer output{logits.data(), logits.size() * sizeof(float)};
  check(wrn_infer(runner.get(), &images, &output, 1));
  for (int at = 2; at < count; ++at) {
    print(runner.get(), arguments[at], logits.data() + static_cast<std::size_t>(at - 2) * classes, classes);
  }
}

}  // namespace

int main(int count, char **arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: label_ppm BUNDLE IMAGE...\n");
    return 2;
  }
  try {
    run(count, arguments);
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
