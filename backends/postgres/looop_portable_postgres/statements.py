"""What the server is asked: one function of the schema, or, where that takes several, one statement that calls them.

Guarantees: a survey is as of one moment, at which no registration was older than a claim that it tells of: all of it is
read by one statement, which sees what was committed before it began. The floor is asked for by a function, which settles
a run that nobody knew: so it is never lower than that of what is read.
Does not guarantee: that a beat is heard which was said while the statement ran. Its age is as of the statement's begin.
"""

from __future__ import annotations

__all__ = ["text_of"]

_SURVEY = """
with low as materialized (
  select number from "looop".read($1, '')
), page as materialized (
  select r.key, greatest(r.number, low.number) as number,
      case when $1 = 'claim' and r.number < low.number then '' else r.data end as data,
      case when $1 = 'claim' and r.number < low.number then null else r.word end as word
    from low, "looop".records r where r.kind = $1 and r.key > $2 order by r.key limit $3
), words as materialized (
  select distinct word from page where word is not null
), known as materialized (
  select w.word, coalesce(greatest(s.number, low.number), low.number) as registered, coalesce(s.data, '') as registration,
      date_part('epoch', statement_timestamp() - b.at) as seconds, b.beat
    from low, words w
    left join "looop".records s
      on $1 = 'claim' and s.kind = 'session' and s.key = substring(w.word from 1 for position('\\x2f'::bytea in w.word) - 1)
    left join "looop".beats b on b.word = w.word
)
select p.key, p.number, p.data, p.word, k.registered, k.registration, k.seconds, k.beat
  from page p left join known k on k.word = p.word order by p.key
"""

_STATEMENTS = {"survey": _SURVEY, "report": 'select "looop".beat($1, $2, $3), "looop".read(\'session\', $4)'}


def text_of(function: str, count: int, schema: str) -> bytes:
    """The statement that is called like a function of `count` values."""
    places = ", ".join(f"${at + 1}" for at in range(count))
    all_of = "* from " if function == "scan" else ""  # One row is cheaper as one value.
    text = _STATEMENTS.get(function) or f'select {all_of}"looop".{function}({places})'
    return text.replace('"looop"', f'"{schema}"').encode()
