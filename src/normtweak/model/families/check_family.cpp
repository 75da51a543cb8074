#include "normtweak/model/families/check_family.h"

#include <algorithm>
#include <initializer_list>
#include <set>

#include "normtweak/base/error.h"

namespace normtweak::model {
namespace {

template <class Rows, class Role>
bool has(const Rows& rows, Role role) {
  return std::ranges::find(rows, role, [](const auto& row) { return row.role; }) != rows.end();
}

void require(const Family& family, bool holds, std::string_view what) {
  if (!holds) fail("family {}: {}; this is a fault of normtweak's tables", family.name, what);
}

// The norms of its topology; a `complete` may choose another one, for which there are rows with conditions.
void check_norms(const Family& family) {
  const auto all = [&](std::initializer_list<NormRole> roles) {
    return std::ranges::all_of(roles, [&](NormRole role) { return has(family.norms, role); });
  };
  using enum NormRole;
  switch (family.topology) {
    case Topology::pre_norm:
      return require(family, all({attention, mlp}), "a norm before attention or MLP is missing");
    case Topology::parallel:
      return require(family, all({attention}), "the norm before attention is missing");
    case Topology::sandwich:
      return require(family, all({attention, attention_output, mlp, mlp_output}), "one of the four norms is missing");
    case Topology::output_norm:
    case Topology::post_norm:
      return require(family, all({attention_output, mlp_output}), "a norm after attention or MLP is missing");
  }
}

void check_linears(const Family& family) {
  const auto has_linear = [&](LinearRole role) { return has(family.linears, role); };
  using enum LinearRole;
  const bool apart = has_linear(query) && has_linear(key) && has_linear(value);
  require(family, apart != has_linear(query_key_value), "query, key and value must be three linears or one");
  require(family, has_linear(attention_output), "the attention's output is missing");
  require(family, has_linear(up) != has_linear(gate_up), "`up` must be a linear, alone or with the gate");
  require(family, has_linear(down), "`down` is missing");
}

// Each part has its own name, and one in GGUF if llama.cpp has the family.
void check_names(const Family& family) {
  const bool in_gguf = !family.gguf.architecture.empty();
  std::set<std::string_view> names;
  const auto check = [&](std::string_view name, std::string_view gguf, bool is_optional) {
    require(family, !name.empty(), "a part has no name");
    require(family, is_optional || !in_gguf || !gguf.empty(), "a part has no name in GGUF");
    names.insert(name);
  };
  for (const auto& row : family.norms) check(row.name, row.gguf, row.when != nullptr);
  for (const auto& row : family.linears) {
    require(family, !names.contains(row.name), "two parts have one name");
    check(row.name, row.gguf, false);
  }
  for (const auto* part : {&family.embedding, &family.final_norm, &family.head, &family.block}) {
    check(part->name, part->gguf, false);
  }
  require(family, family.position != Position::learned || !family.positions.name.empty(), "no name for positions");
  require(family, family.block.name.ends_with("{}"), "the name of a block must end in {}");
  require(family, !family.architectures.empty(), "it has no architecture");
}

}  // namespace

void check_family(const Family& family) {
  check_norms(family);
  check_linears(family);
  check_names(family);
}

}  // namespace normtweak::model
