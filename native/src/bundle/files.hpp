// files.hpp: opens files of a bundle: regular files inside of it, links refused; writes nothing.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

namespace wrn {

// A file that was opened; its size and kind are those of the opened one, whatever its name means later.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(File &&other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File();

  int descriptor() const { return descriptor_; }
  struct stat about() const;
  // At most `most` bytes; throws SystemError with `name`.
  std::string read(std::size_t most, const std::string &name) const;

 private:
  int descriptor_;
};

// A path without what changes nothing: "b" for "./b//", "." for "".
std::string plain_path(const std::string &path);
std::string join(const std::string &folder, const std::string &path);

// Opens a regular file; its links are followed, as it is the user's own word. Throws Unfit or SystemError.
File open_regular(const std::string &path);

// Opens the regular file `path` in `folder`; no part of it may be a link or lead out. Throws Unfit or SystemError.
File open_inside(const std::string &folder, const std::string &path);

// Opens a file of a bundle: that of an unfinished commit of this user's, or the one in its place.
File open_of_bundle(const std::string &folder, const std::string &path);

// The text of a file of at most text_bytes; `name` is for errors.
std::string read_text(const File &file, const std::string &name);

}  // namespace wrn
