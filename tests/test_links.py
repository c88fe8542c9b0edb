"""Links in the README, the teachers' guide and the notebooks, and the papers they lead to."""

import re

import nbformat
import pytest

from tools.notebooks import NOTEBOOKS, ROOT

PAPERS = {  # arXiv: an author, who is named where the paper is cited
    "1211.5063": "Pascanu", "1502.03167": "Ioffe", "1510.01378": "Laurent",
    "1602.07868": "Salimans", "1603.09025": "Cooijmans", "1607.06450": "Ba",
    "1607.08022": "Ulyanov", "1610.06160": "Liao", "1702.03275": "Ioffe", "1702.05870": "Luo",
    "1703.06868": "Huang", "1703.10593": "Zhu", "1705.08741": "Hoffer", "1706.03762": "Vaswani",
    "1704.06369": "Wang", "1706.05350": "Laarhoven", "1712.09913": "Li", "1801.05134": "Li",
    "1802.04034": "Tsuzuku", "1802.05957": "Miyato",
    "1803.08494": "Wu", "1805.07925": "Nam", "1805.08318": "Zhang", "1805.10408": "Sedghi",
    "1805.11604": "Santurkar", "1806.02375": "Bjorck", "1806.10779": "Luo", "1811.07727": "Luo",
    "1812.03981": "Arora", "1902.08129": "Yang", "1903.10520": "Qiao", "1905.05894": "Chiley",
    "1910.05895": "Nguyen", "1910.07467": "Zhang", "1911.09737": "Singh", "1912.04958": "Karras",
    "2002.04745": "Xiong", "2004.02967": "Liu", "2010.04245": "Henry", "2102.06171": "Brock",
    "2105.07576": "Wu", "2203.00555": "Wang", "2212.09748": "Peebles", "2301.00808": "Woo",
    "2410.01131": "Loshchilov", "2502.02732": "Kim", "2503.10622": "Zhu", "2512.10938": "Chen",
    "2604.23434": "Verma",
}  # fmt: skip
WORDS = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.md"))]


def texts(path):
    """The words of a file, in pieces that stand together."""
    if path.suffix != ".ipynb":
        return path.read_text("utf-8").splitlines()
    cells = nbformat.read(path, as_version=4).cells
    return [line for c in cells if c.cell_type == "markdown" for line in c.source.splitlines()]


@pytest.mark.parametrize("path", WORDS + NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for line in texts(path):
        for target in re.findall(r"\]\(([^)]+)\)", line):
            if target.startswith("http"):
                assert re.match(r"https://[a-z0-9.-]+\.[a-z]+(/|$)", target), target
                if "arxiv.org" in target:
                    assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", target), target
            else:
                assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *sorted((ROOT / "normlib").glob("*.[pt]*"))], ids=lambda path: path.stem
)
def test_papers_are_cited_with_their_authors(path):
    for line in texts(path):
        if line.startswith("claim = "):
            continue  # the article's words
        for number in re.findall(r"(?:arxiv\.org/abs/|arXiv:)(\d{4}\.\d{4,5})", line):
            assert PAPERS[number] in line
