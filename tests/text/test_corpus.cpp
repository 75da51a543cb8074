#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/text/corpus.h"
#include "support/temporary_folder.h"

namespace normtweak::tests {
namespace {

using namespace text;

struct JoinCase {
  std::string_view content, joined;
};

TEST(Corpus, JoinsRows) {
  const JoinCase cases[] = {
      {"", ""},
      {"a\n", "a\n"},
      {"a", "a\n"},  // a last line without its newline is a row all the same
      {"a\nb\n", "a\n\n\nb\n"},
      {" \n = Title = \n \n text \n", "\n\n = Title = \n\n\n\n\n text \n"},
      {"\n\n", "\n\n"},
      {"a\r\n\r\nb", "a\r\n\n\n\n\nb\n"},
      {"\u3000\x1c\na\n", "\n\na\n"},
  };
  for (const auto& [content, joined] : cases) EXPECT_EQ(join_rows(content), joined) << content;
}

class CorpusFile : public TemporaryFolder {};

TEST_F(CorpusFile, IsReadWithItsName) {
  write(folder() / "wiki.txt", "a\nb");
  EXPECT_EQ(read_text(folder() / "wiki.txt").text, "a\nb");
  EXPECT_EQ(read_rows(folder() / "wiki.txt").text, "a\n\n\nb\n");
  EXPECT_EQ(read_rows(folder() / "wiki.txt").name, "wiki.txt");
}

TEST_F(CorpusFile, MustHoldText) {
  write(folder() / "empty.txt", "");
  write(folder() / "blank.txt", " \n\n");
  EXPECT_EQ(message_of<Error>([&] { read_text(folder() / "empty.txt"); }),
            (folder() / "empty.txt").string() + ": is empty; a file with text is needed");
  EXPECT_THROW(read_rows(folder() / "blank.txt"), Error);
  EXPECT_THROW(read_rows(folder() / "absent.txt"), Error);
}

}  // namespace
}  // namespace normtweak::tests
