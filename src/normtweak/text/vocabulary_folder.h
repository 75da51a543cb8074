// Folders without tokenizer.json, whose vocabulary is in a file of another kind: SentencePiece's, tiktoken's or
// Mistral's.
#pragma once
#include "normtweak/text/folder_files.h"
#include "normtweak/text/tokenizer_folder.h"

namespace normtweak::text {

// config: tokenizer_config.json. The folder has such a file.
LoadedTokenizer load_from_vocabulary(const TokenizerFolder& folder, const FolderFile& config);

}  // namespace normtweak::text
