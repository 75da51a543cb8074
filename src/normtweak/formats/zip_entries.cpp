#include "normtweak/formats/zip_entries.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/formats/byte_cursor.h"

namespace normtweak::formats {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kEntry = 0x04034b50, kRow = 0x02014b50, kEnd = 0x06054b50;  // "PK\3\4", "PK\1\2", "PK\5\6"
constexpr std::uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;               // "PK\6\6", "PK\6\7"
constexpr std::size_t kEndBytes = 22, kLocatorBytes = 20, kRowBytes = 46;
constexpr std::size_t kLongestComment = 0xffff;
constexpr std::uint32_t kOnes32 = 0xffffffff;
constexpr std::uint16_t kOnes16 = 0xffff, kZip64Field = 1, kEncrypted = 1, kStored = 0;

std::uint32_t signature_at(Bytes bytes, std::size_t place) {
  std::uint32_t found = 0;
  std::memcpy(&found, bytes.data() + place, sizeof found);
  return found;
}

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct Directory {
  std::uint64_t rows = 0, size = 0, begin = 0;
};

class ZipReader {
 public:
  ZipReader(Bytes bytes, std::string_view origin) : bytes_(bytes), origin_(origin) {}

  ZipEntries read() {
    directory_ = find_directory();
    if (directory_.begin > bytes_.size() || directory_.size > bytes_.size() - directory_.begin) {
      fail("{}: the zip archive's directory, {} bytes at byte {}, lies beyond its end; the file is cut short", origin_,
           directory_.size, directory_.begin);
    }
    ByteCursor rows(bytes_.subspan(directory_.begin, directory_.size), origin_);
    const auto count = rows.count(directory_.rows, kRowBytes, "entries of a zip archive");
    entries_.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) add_row(rows);
    refuse_overlaps();
    return std::move(entries_);
  }

 private:
  // Where the comment that follows fills the file: a comment may hold the signature too.
  std::size_t place_of_end() const {
    const auto first = bytes_.size() - std::min(bytes_.size(), kEndBytes + kLongestComment);
    for (auto place = bytes_.size() - std::min(bytes_.size(), kEndBytes) + 1; place-- > first;) {
      if (bytes_.size() - place < kEndBytes || signature_at(bytes_, place) != kEnd) continue;
      std::uint16_t comment = 0;
      std::memcpy(&comment, bytes_.data() + place + kEndBytes - sizeof comment, sizeof comment);
      if (place + kEndBytes + comment == bytes_.size()) return place;
    }
    fail("{}: a zip archive without the directory at its end; the download is probably incomplete", origin_);
  }

  Directory find_directory() const {
    const auto end = place_of_end();
    ByteCursor cursor(bytes_.subspan(end + sizeof kEnd), origin_);
    const auto disk = cursor.number<std::uint16_t>("disk"), first = cursor.number<std::uint16_t>("disk");
    const auto here = cursor.number<std::uint16_t>("entries"), rows = cursor.number<std::uint16_t>("entries");
    const auto size = cursor.number<std::uint32_t>("size"), begin = cursor.number<std::uint32_t>("place");
    const auto is_64 = [](auto... numbers) { return ((numbers == kOnes16) || ...); };
    if (is_64(disk, first, here, rows) || size == kOnes32 || begin == kOnes32) return find_directory_64(end);
    if (disk != 0 || first != 0 || here != rows) refuse_parts();
    return {rows, size, begin};
  }

  Directory find_directory_64(std::size_t end) const {
    if (end < kLocatorBytes || signature_at(bytes_, end - kLocatorBytes) != kLocator64) refuse_64();
    ByteCursor locator(bytes_.subspan(end - kLocatorBytes + sizeof kLocator64), origin_);
    const auto disk = locator.number<std::uint32_t>("disk");
    const auto place = locator.number<std::uint64_t>("place");
    if (place >= end) refuse_64();
    ByteCursor cursor(bytes_.subspan(place, end - place), origin_);
    if (cursor.number<std::uint32_t>("the end of a zip archive") != kEnd64) refuse_64();
    cursor.take(12, "the end of a zip archive");  // its size, versions
    const auto this_disk = cursor.number<std::uint32_t>("disk"), first = cursor.number<std::uint32_t>("disk");
    const auto here = cursor.number<std::uint64_t>("entries"), rows = cursor.number<std::uint64_t>("entries");
    const auto size = cursor.number<std::uint64_t>("size"), begin = cursor.number<std::uint64_t>("place");
    if (disk != 0 || this_disk != 0 || first != 0 || here != rows) refuse_parts();
    return {rows, size, begin};
  }

  [[noreturn]] void refuse_parts() const { fail("{}: a zip archive in several parts; join them first", origin_); }
  [[noreturn]] void refuse_64() const {
    fail("{}: a zip archive whose end (zip64) is not consistent; the file is damaged", origin_);
  }

  void add_row(ByteCursor& rows) {
    constexpr auto* kWhat = "an entry of the zip archive's directory";
    if (rows.number<std::uint32_t>(kWhat) != kRow) fail("{}: the zip archive's directory is damaged", origin_);
    rows.take(4, kWhat);  // versions
    const auto flags = rows.number<std::uint16_t>(kWhat), method = rows.number<std::uint16_t>(kWhat);
    rows.take(8, kWhat);  // time, date, checksum
    std::uint64_t stored = rows.number<std::uint32_t>(kWhat), original = rows.number<std::uint32_t>(kWhat);
    const auto name_size = rows.number<std::uint16_t>(kWhat), extra_size = rows.number<std::uint16_t>(kWhat);
    const auto comment_size = rows.number<std::uint16_t>(kWhat);
    rows.take(8, kWhat);  // disk, attributes
    std::uint64_t place = rows.number<std::uint32_t>(kWhat);
    const auto name = text_of(rows.take(name_size, kWhat));
    widen(rows.take(extra_size, kWhat), name, original, stored, place);
    rows.take(comment_size, kWhat);
    const bool is_plain = method == kStored && stored == original;
    const auto* const problem = (flags & kEncrypted) != 0 ? "is encrypted" : is_plain ? "" : "is compressed";
    if (!entries_.emplace(name, ZipEntry{content(name, place, stored), problem}).second) {
      fail("{}: {} is twice in the zip archive; the file is damaged", origin_, name);
    }
  }

  // Reads those of the three numbers that are all ones from the extra field of zip64.
  void widen(Bytes extra, std::string_view name, std::uint64_t& original, std::uint64_t& stored,
             std::uint64_t& place) const {
    if (original != kOnes32 && stored != kOnes32 && place != kOnes32) return;
    for (ByteCursor fields(extra, origin_); fields.left() > 0;) {
      const auto id = fields.number<std::uint16_t>("an extra field");
      ByteCursor field(fields.take(fields.number<std::uint16_t>("an extra field"), "an extra field"), origin_);
      if (id != kZip64Field) continue;
      for (auto* number : {&original, &stored, &place}) {
        if (*number == kOnes32) *number = field.number<std::uint64_t>("a size of an entry (zip64)");
      }
      return;
    }
    fail("{}: {} lacks its size (zip64); the file is damaged", origin_, name);
  }

  Bytes content(std::string_view name, std::uint64_t place, std::uint64_t size) {
    if (place > directory_.begin) {
      fail("{}: {} is said to lie beyond the zip archive's directory; the file is damaged", origin_, name);
    }
    ByteCursor entry(bytes_.subspan(place, directory_.begin - place), origin_);
    if (entry.number<std::uint32_t>(name) != kEntry) {
      fail("{}: {} is not where the zip archive's directory says; the file is damaged", origin_, name);
    }
    entry.take(22, name);
    const auto name_size = entry.number<std::uint16_t>(name), extra_size = entry.number<std::uint16_t>(name);
    if (text_of(entry.take(name_size, name)) != name) {
      fail("{}: {} has another name than the zip archive's directory says; the file is damaged", origin_, name);
    }
    entry.take(extra_size, name);
    const auto found = entry.take(size, name);
    ranges_.emplace_back(place, place + entry.position());
    return found;
  }

  void refuse_overlaps() {
    std::ranges::sort(ranges_);
    for (std::size_t i = 1; i < ranges_.size(); ++i) {
      if (ranges_[i].first >= ranges_[i - 1].second) continue;
      fail("{}: two entries of the zip archive share the bytes from {} on; the file is damaged", origin_,
           ranges_[i].first);
    }
  }

  Bytes bytes_;
  std::string_view origin_;
  Directory directory_;
  ZipEntries entries_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges_;  // of entries, with their headers
};

}  // namespace

bool begins_as_zip(Bytes bytes) { return bytes.size() >= sizeof kEntry && signature_at(bytes, 0) == kEntry; }

ZipEntries read_zip_entries(Bytes bytes, std::string_view origin) { return ZipReader(bytes, origin).read(); }

}  // namespace normtweak::formats
