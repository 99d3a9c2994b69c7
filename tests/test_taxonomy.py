"""Taxonomy files: what they mean, and that every mistake in one is named with its line."""

import time
from pathlib import Path

import pytest

from curate.errors import ConfigError, UnknownName
from curate.taxonomy import parse_taxonomy, read_taxonomy
from curate.types import join_path, split_path

PETS = """
animal:
  dog: [beagle, poodle]
  cat: {synonyms: [kitty], children: [tabby, siamese]}
  pet: {hamster: }
  goldfish: {also_under: [pet]}
vehicle:
  car:
  TV/van: {templates: ["the {name}"]}
"""


def paths(taxonomy, facet="path"):
    found = taxonomy.facets[facet]
    return {found.path(v) for v in range(len(found))}


def test_nested_names_become_paths():
    assert paths(parse_taxonomy(PETS)) == {
        "animal", "vehicle", "animal/dog", "animal/cat", "animal/pet", "animal/goldfish", "animal/dog/beagle",
        "animal/dog/poodle", "animal/cat/tabby", "animal/cat/siamese", "animal/pet/hamster", "vehicle/car", "vehicle/TV\\/van",
    }  # fmt: skip


def test_a_tag_may_have_several_parents_and_keeps_one_path():
    facet = parse_taxonomy(PETS).facets["path"]
    goldfish = facet.find("goldfish")
    assert {facet.keys[v] for v in facet.ancestors(goldfish)} == {"goldfish", "pet", "animal"}
    assert facet.path(goldfish) == "animal/goldfish"
    assert goldfish in facet.children[facet.find("pet")]


def test_parents_come_before_children_and_leaves_are_counted_once():
    facet = parse_taxonomy(PETS).facets["path"]
    assert all(parent < child for child, above in enumerate(facet.parents) for parent in above)
    names = {facet.keys[facet.leaves[k]] for k in facet.leaves_below(facet.find("animal"))}
    assert names == {"beagle", "poodle", "tabby", "siamese", "hamster", "goldfish"}
    assert len(facet.leaves_below(facet.find("animal"))) == 6


def test_slashes_in_names_survive_the_path():
    assert split_path(join_path(["a/b", "c\\d", "e"])) == ["a/b", "c\\d", "e"]
    facet = parse_taxonomy(PETS).facets["path"]
    assert facet.find("TV/van") == facet.find("vehicle/TV\\/van") is not None


def test_texts_of_a_tag():
    facet = parse_taxonomy(PETS).facets["path"]
    assert facet.texts(facet.find("cat")) == [
        "cat", "kitty", "a photo of a cat.", "a photo of a kitty.", "a photo of a cat, a type of animal.",
        "a photo of a kitty, a type of animal.",
    ]  # fmt: skip
    assert facet.texts(facet.find("animal")) == ["animal", "a photo of a animal."]
    assert facet.texts(facet.find("TV/van")) == ["the TV/van"]


def test_templates_of_the_file_hold_for_every_tag_without_its_own():
    facet = parse_taxonomy("templates: ['x {}']\na: {templates: ['y {name}']}\nb:\n").facets["path"]
    assert [facet.texts(v) for v in range(2)] == [["y a"], ["x b"]]


def test_facets_are_separate():
    taxonomy = parse_taxonomy("facets:\n  object: {animal: [dog, cat], car: }\n  scene: [indoor, outdoor]\n")
    assert taxonomy.several
    assert taxonomy.field("scene") == "path_scene"
    assert taxonomy.confidence_field("scene") == "path_confidence_scene"
    assert paths(taxonomy, "object") == {"animal", "animal/dog", "animal/cat", "car"}
    assert taxonomy.find("outdoor") == ("scene", 1)


def test_yaml_words_stay_names():
    assert paths(parse_taxonomy("[no, 1.50, 2020-01-01, true]")) == {"no", "1.50", "2020-01-01", "true"}


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("header", ["", "child,parent\n", "parent,child\n"])
def test_child_parent_pairs(separator, header):
    rows = ["dog,animal", "cat,animal", "beagle,dog", "goldfish,animal", "goldfish,pet", "pet,", "animal,"]
    if header.startswith("parent"):
        rows = [",".join(row.split(",")[::-1]) for row in rows]
    facet = parse_taxonomy((header + "\n".join(rows)).replace(",", separator), suffix=".csv").facets["path"]
    assert facet.path(facet.find("beagle")) == "animal/dog/beagle"
    assert {facet.keys[v] for v in facet.ancestors(facet.find("goldfish"))} == {"goldfish", "animal", "pet"}


def test_columns_name_facets_synonyms_and_templates():
    taxonomy = parse_taxonomy(
        "child,parent,facet,synonyms,templates\nanimal,,object,beast|creature,the {name}\ndog,animal,,,\ncat,animal,,,\n"
        "indoor,,scene,,\noutdoor,,scene,,\n",
        suffix=".csv",
    )
    assert set(taxonomy.facets) == {"object", "scene"}
    animal = taxonomy.facets["object"]
    assert animal.texts(animal.find("creature")) == ["the animal", "the beast", "the creature"]


def test_wordnet_is_a_lines_have_the_parent_first_and_names_from_words():
    lines = "n00000001 n00000002\nn00000001 n00000003\n"
    words = "n00000001\tanimal, beast\nn00000002\tdog\n"
    facet = parse_taxonomy(lines, suffix=".txt", words=words).facets["path"]
    assert {facet.path(v) for v in range(3)} == {"animal", "animal/dog", "animal/n00000003"}
    assert facet.synonyms[facet.find("n00000001")] == ("beast",)


def test_words_beside_the_file_are_read(tmp_path):
    (tmp_path / "words.txt").write_text("n00000002\tdog\n")
    (tmp_path / "wordnet.is_a.txt").write_text("n00000001 n00000002\nn00000001 n00000003\n")
    assert read_taxonomy(tmp_path / "wordnet.is_a.txt").facets["path"].find("dog") is not None


def test_synset_tables_name_tags_with_their_synonyms_and_tell_equal_names_apart():
    facet = parse_taxonomy(
        "child\tparent\tchild_name\tparent_name\nn00000002\tn00000001\tsubstance, stuff\tmatter\n"
        "n00000003\tn00000001\tsubstance\tmatter\n",
        suffix=".tsv",
    ).facets["path"]
    assert {facet.path(v) for v in facet.leaves} == {"matter/substance (n00000002)", "matter/substance (n00000003)"}
    assert facet.find("stuff") == facet.find("n00000002")
    assert facet.find("substance") is None and len(facet.meanings("substance")) == 2


def test_labels_mean_tags_by_key_name_synonym_and_path():
    taxonomy = parse_taxonomy("a: {x1: {name: jaguar}, lion: {synonyms: [Leo]}}\nb: {x2: {name: jaguar}, car: }\n")
    facet = taxonomy.facets["path"]
    assert facet.find("a/jaguar") == facet.find("x1")
    assert facet.find("leo") == facet.find("LION") == facet.find("lion")
    assert facet.find("jaguar") is None
    assert "a/jaguar or b/jaguar" in taxonomy.why_not("jaguar")
    assert "did you mean 'lion'" in taxonomy.why_not("lionn")


BAD_YAML = [
    ("", "empty"),
    ("# only a comment\n", "empty"),
    ("a", "only 'a'"),
    ("a: {b: {c: }}", "only 'c'"),
    ("a: [b,\n c", "3: not YAML"),
    (
        "a:\n  b:\n  c: {also_under: [d]}\n  d: {also_under: [c]}",
        r"cycle: 'c' is a kind of 'd' is a kind of 'c' \(lines 3, 4\)",
    ),
    ("a:\n  - b\n  - c\n  - b\n", r"4: 'b' is already at line 2.*also_under: \[a\].*name: b"),
    ("a: {b: {also_under: [zz]}, c: }", "unknown parent 'zz'"),
    ("animal: {b: {also_under: [anima]}, c: }", "did you mean 'animal'"),
    ("facets:\n  object: [x, y]\n  scene: [z, x]\n", "3: 'x' is under two facets, 'object' .line 2. and 'scene'"),
    ("facets:\n  object: [x, y]\n  scene:\n", "'scene' has no tag"),
    ("facets:\n  object: [x, y]\nother: z\n", "3: 'other' stands beside 'facets'"),
    ("facets:\n  ob/ject: [x, y]\n", "cannot be the name of a field"),
    ("facets:\n  confidence: [x, y]\n", "cannot be the name of a field"),
    ("a: {name: [x]}\nb:", "1: 'name' must be a text"),
    ("a: {templates: [x]}\nb:", "1: template 'x' has no {name}"),
    ("a: [[b, c]]", "list inside a list"),
    ("a: {? [x] : b}\nc:", "a name is expected"),
    ("a: &x {k: *x}\nb:", "already at line"),
    ("[" * 1000 + "]" * 1000, "nested more than 200"),
    ("[" * 200_000, "nested more than 200"),
]


@pytest.mark.parametrize(("text", "message"), BAD_YAML)
def test_mistakes_in_yaml_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_taxonomy(text, source="tags.yaml")


BAD_PAIRS = [
    ("", "empty"),
    ("child,parent\n", "empty"),
    ("dog,animal\n", "only 'dog'"),
    ("a,b\nb,c\nc,a\nd,a\n", r"cycle: 'a' is a kind of 'b' is a kind of 'c' is a kind of 'a' \(lines 1, 2, 3\)"),
    ("animal,\ndog,animal\ncat,anmal\n", "3: 'cat' has the unknown parent 'anmal'; did you mean 'animal'"),
    ("dog,animal\ndog,animal\ncat,animal\n", "2: 'dog' under 'animal' is already at line 1"),
    ("dog,animal\ncat\n", "2: 1 columns"),
    ("dog,animal,x\ncat,animal\n", "1: 3 columns"),
    (",animal\n", "1: the child is empty"),
    ("child,parent,facet\na,,object\nb,,object\nc,,scene\nd,,scene\nx,a,\nx,c,\n", "'x' is under two facets"),
    ("child,parent,facet\na,,object\nb,,\n", "'b' is in no facet"),
    ('dog,"animal\n', "1:|2:"),
]


@pytest.mark.parametrize(("text", "message"), BAD_PAIRS)
def test_mistakes_in_pairs_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_taxonomy(text, source="tags.csv", suffix=".csv")


def test_an_unknown_column_is_named():
    with pytest.raises(UnknownName, match="did you mean 'synonyms'"):
        parse_taxonomy("child,parent,synonym\na,b,c\n", suffix=".csv")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no such taxonomy file"):
        read_taxonomy(tmp_path / "none.yaml")
    (tmp_path / "tags.json").write_text("{}")
    with pytest.raises(ConfigError, match="no taxonomy format"):
        read_taxonomy(tmp_path / "tags.json")
    (tmp_path / "tags.yaml").write_bytes(b"a:\n  - \xff\n")
    with pytest.raises(ConfigError, match="2: not UTF-8"):
        read_taxonomy(tmp_path / "tags.yaml")


def test_ten_thousand_leaves_are_read_in_a_moment():
    text = (
        "\n".join(f"l{i}_{j},g{i}" for i in range(100) for j in range(100)) + "\n" + "\n".join(f"g{i},top" for i in range(100))
    )
    start = time.perf_counter()
    facet = parse_taxonomy(text, suffix=".csv").facets["path"]
    assert len(facet.leaves) == 10_000 and facet.trivial == {facet.find("top")} and facet.leaves_below(facet.find("g7"))
    assert time.perf_counter() - start < 5


def test_a_chain_deeper_than_the_stack_is_read():
    text = "\n".join(f"n{i + 1},n{i}" for i in range(5000)) + "\nother,n0\n"
    facet = parse_taxonomy(text, suffix=".csv").facets["path"]
    assert max(facet.levels) == 5001
    assert len(facet.ancestors(facet.find("n5000"))) == 5001


def test_the_order_of_rows_does_not_matter():
    rows = ["dog,animal", "cat,animal", "car,vehicle", "bus,vehicle"]
    one, other = (parse_taxonomy("\n".join(some), suffix=".csv") for some in (rows, rows[::-1]))
    assert one.fingerprint == other.fingerprint


def test_the_taxonomy_of_the_page_is_one():
    page = (Path(__file__).parent.parent / "docs" / "hierarchy.md").read_text()
    taxonomy = parse_taxonomy(page.split("```yaml\n")[1].split("```")[0], source="docs")
    assert {"vehicle/jaguar", "animal/jaguar", "animal/cat/tabby", "goldfish"} & paths(taxonomy, "object")
    assert taxonomy.facets["object"].texts(taxonomy.facets["object"].find("car")) == ["a car on a road."]
