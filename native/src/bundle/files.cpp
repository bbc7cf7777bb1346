#include "bundle/files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "bundle/budget.hpp"
#include "error.hpp"
#include "text/format.hpp"
#include "text/json.hpp"

namespace wrn {
namespace {

constexpr int kReading = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
constexpr const char *kCommit = ".commit", *kRecord = ".commit/.record";
constexpr std::size_t kRecordBytes = 4096;

std::vector<std::string> parts_of(const std::string &path) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (!part.empty() && part != ".") parts.push_back(part);
    start = end + 1;
  }
  return parts;
}

File regular(File file, const std::string &path) {
  const mode_t mode = file.about().st_mode;
  if (S_ISREG(mode)) return file;
  const char *kind = S_ISFIFO(mode)                     ? "a FIFO"
                     : S_ISCHR(mode) || S_ISBLK(mode)   ? "a device"
                     : S_ISSOCK(mode)                   ? "a socket"
                     : S_ISDIR(mode)                    ? "a folder"
                                                        : "not a regular file";
  throw Unfit(path + " is " + kind + ": expected a regular file");
}

// Whether the record of the folder's `.commit` says that a transaction made it in this very place.
bool is_ours(const std::string &folder) {
  struct stat pending{}, here{};
  if (lstat(join(folder, kCommit).c_str(), &pending) != 0 || stat(folder.c_str(), &here) != 0) return false;
  if (!S_ISDIR(pending.st_mode) || pending.st_uid != geteuid()) return false;
  try {
    const std::string text = open_inside(folder, kRecord).read(kRecordBytes, kRecord);
    if (json_depth(text) > 2) return false;
    const Json record = Json::parse(text);
    if (record.object() == nullptr || record.object()->count("last") == 0) return false;
    const auto is = [&record](const char *name, ino_t inode) {
      const auto found = record.object()->find(name);
      return found != record.object()->end() && found->second.number() != nullptr &&
             found->second.number()->text == std::to_string(inode);
    };
    return is("folder", here.st_ino) && is("commit", pending.st_ino);
  } catch (const Unfit &) {
    return false;
  } catch (const SystemError &) {
    return false;
  } catch (const JsonError &) {
    return false;
  }
}

}  // namespace

File::~File() {
  if (descriptor_ >= 0) close(descriptor_);
}

struct stat File::about() const {
  struct stat found{};
  if (fstat(descriptor_, &found) != 0) throw SystemError("a file", errno);
  return found;
}

std::string File::read(std::size_t most, const std::string &name) const {
  const auto size = static_cast<std::size_t>(std::max<off_t>(0, about().st_size));
  std::string content(std::min(most, size + 1), '\0');  // one more: a file that grows meanwhile is noticed
  std::size_t held = 0;
  while (held < content.size()) {
    const ssize_t more = ::read(descriptor_, content.data() + held, content.size() - held);
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) throw SystemError(name, errno);
    if (more == 0) break;
    held += static_cast<std::size_t>(more);
    if (held == content.size() && held < most) content.resize(std::min(most, 2 * held));
  }
  content.resize(held);
  return content;
}

std::string plain_path(const std::string &path) {
  const std::size_t slashes = std::min(path.find_first_not_of('/'), path.size());
  const std::string rest = joined(parts_of(path), "/");
  const std::string root = slashes == 0 ? "" : slashes == 2 ? "//" : "/";  // two have a meaning of their own in POSIX
  return root.empty() && rest.empty() ? "." : root + rest;
}

std::string join(const std::string &folder, const std::string &path) {
  if (folder == ".") return path;
  return folder.back() == '/' ? folder + path : folder + "/" + path;
}

File open_regular(const std::string &path) {
  const int opened = open(path.c_str(), kReading);
  if (opened < 0) throw SystemError(path, errno);
  return regular(File(opened), path);
}

File open_inside(const std::string &folder, const std::string &path) {
  const std::vector<std::string> parts = parts_of(path);
  if (parts.empty() || path[0] == '/' || std::find(parts.begin(), parts.end(), "..") != parts.end())
    throw Unfit(quoted(path) + " is outside " + folder + ": expected a path within it; do not trust the folder");
  const std::string whole = join(folder, path);
  File here(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (here.descriptor() < 0) throw SystemError(folder, errno);
  int opened = -1;
  for (const std::string &part : parts) {
    const File within(opened < 0 ? fcntl(here.descriptor(), F_DUPFD_CLOEXEC, 0) : opened);
    struct stat about{};
    if (fstatat(within.descriptor(), part.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) throw SystemError(part, errno);
    if (S_ISLNK(about.st_mode))
      throw Unfit(whole + " is a link or is inside one (" + part +
                  "): expected the file itself; links are not followed here");
    const int folders = &part == &parts.back() ? 0 : O_DIRECTORY;
    opened = openat(within.descriptor(), part.c_str(), kReading | O_NOFOLLOW | folders);
    if (opened < 0) throw SystemError(part, errno);
  }
  return regular(File(opened), whole);
}

File open_of_bundle(const std::string &folder, const std::string &path) {
  if (is_ours(folder)) try {
      return open_inside(join(folder, kCommit), path);
    } catch (const SystemError &error) {
      if (error.number() != ENOENT) throw;  // else another process has moved it to its place, or it is not a part
    }
  return open_inside(folder, path);
}

std::string read_text(const File &file, const std::string &name) {
  const Budget budget = read_budget();
  budget.check_text_bytes(static_cast<std::uint64_t>(file.about().st_size), name);
  std::string content = file.read(static_cast<std::size_t>(budget.text_bytes) + 1, name);
  budget.check_text_bytes(content.size(), name);
  return content;
}

}  // namespace wrn
