-- The store of looop-portable in PostgreSQL, version 1. It is made by one statement, in one transaction, by whoever first finds
-- that it is not there; all others wait for the lock. `"looop"` stands for the schema that was chosen.
--
-- What stands between two $ is put in by `schema.py`:
--   $RUN$      what tells one life of the server's data from another: the timeline, which every failover and every restore to
--              a point in time makes anew; the table's own number, which is another where a dump was restored; and, where a
--              crash loses what was committed (fsync = off), the start of the server.
--   $NOW$      the server's clock, in seconds.
--   $KNOWN$    `stamp` is the stamp, after it has been settled that this run is the one that it names.
--   $DURABLE$  this transaction is told as done when a crash of the server, and one of the standby that
--              `synchronous_standby_names` wants, do not lose it: whatever the server's or the role's own settings are, and
--              whichever connection a pooler gives.
--   $LOST$     what is done where this may have been here before, and was lost.

do $looop$
begin
  perform set_config('synchronous_commit', 'on', true);
  perform pg_advisory_xact_lock(hashtextextended('looop "looop"', 0));
  if to_regclass('"looop".stamp') is not null then
    return;
  end if;
  if to_regnamespace('"looop"') is null then
    create schema "looop";
  end if;

  create table "looop".records (
    kind text collate "C" not null,
    key bytea not null,            -- Bytes: their order is the same in every database.
    number bigint not null,
    data bytea not null,
    word bytea,                    -- Of a claim: the word of its holder's beats, up to whose first / is that session's key.
    primary key (kind, key)
  ) with (fillfactor = 70);

  create table "looop".beats (
    word bytea primary key,
    at timestamptz not null,
    beat text not null,
    until timestamptz not null
  ) with (fillfactor = 70);

  create table "looop".listeners (
    channel text collate "C" not null,
    owner text collate "C" not null,
    until timestamptz not null,
    primary key (channel, owner)
  ) with (fillfactor = 70);

  create table "looop".stamp (
    here boolean primary key default true check (here),
    version integer not null,
    run text not null,
    floor bigint not null,         -- Numbers up to it are not used any more.
    since timestamptz,             -- When that was settled; null: nothing was ever lost.
    grace double precision,        -- For so many seconds from then on nothing is claimed.
    longest double precision,      -- The longest lease that was ever said with a beat, in seconds.
    why text not null
  );

  -- `why_`: null, if the run alone tells. A server that was no replica has granted nothing of ours since it started.
  create function "looop".settle(why_ text, since_ timestamptz) returns "looop".stamp language plpgsql as $$
  declare
    found "looop".stamp;
    run_ constant text := $RUN$;
  begin
    $DURABLE$
    update "looop".stamp s
      set run = run_,
          floor = greatest(s.floor + 1, floor($NOW$)::bigint << 20),
          since = case when why_ is not null then since_
                  when split_part(s.run, ' ', 1) = split_part(run_, ' ', 1) then pg_postmaster_start_time()
                  else clock_timestamp() end,
          grace = coalesce(s.longest, 30) * 4 / 3,
          why = case when why_ is not null then why_
                when split_part(s.run, ' ', 1) = split_part(run_, ' ', 1) then 'restarted' else 'promoted' end
      where s.run <> run_ or why_ is not null;
    select * into strict found from "looop".stamp;
    return found;
  end $$;

  create function "looop".hello(out clock float8, out version integer, out recovering boolean) language plpgsql as $$
  begin
    select s.version into strict version from "looop".stamp s;
    recovering := pg_is_in_recovery();
    clock := $NOW$;
  end $$;

  create function "looop".read(kind_ text, key_ bytea, out clock float8, out number bigint, out data bytea)
  language plpgsql as $$
  declare
    stamp "looop".stamp;
    low bigint := 0;
  begin
    if kind_ <> 'ticket' then
      $KNOWN$
      low := stamp.floor;
    end if;
    select greatest(r.number, low), case when kind_ = 'claim' and r.number < low then '' else r.data end into number, data
      from "looop".records r where r.kind = kind_ and r.key = key_;
    if not found then
      number := low;
      data := '';
    end if;
    clock := $NOW$;
  end $$;

  create function "looop".advance(
    kind_ text, key_ bytea, after_ bigint, data_ bytea, word_ bytea, channel_ text, deadline float8,
    out clock float8, out won boolean, out number bigint, out data bytea, out settling float8, out why text,
    out registered bigint, out registration bytea)
  language plpgsql as $$
  declare
    is_settled boolean;
    low bigint;
    since_ timestamptz;
    grace float8;
    stands bigint;                 -- Null: there is no such record.
    listened boolean;
  begin
    $DURABLE$
    loop
      won := false;
      clock := $NOW$;
      select s.run = $RUN$, s.floor, s.since, s.why, coalesce(s.grace, 40), r.number, r.data
        into strict is_settled, low, since_, why, grace, stands, data
        from "looop".stamp s left join "looop".records r on r.kind = kind_ and r.key = key_;
      if kind_ = 'ticket' then
        low := 0;
      elsif not is_settled then
        perform "looop".settle(null, null);
        continue;
      elsif kind_ = 'claim' then
        settling := date_part('epoch', since_) + grace - clock;
        if settling > grace then   -- The clock has been set back.
          update "looop".stamp s set since = clock_timestamp() where s.since > clock_timestamp();
        end if;
      end if;
      number := greatest(stands, low);
      if stands is null or (stands < low and kind_ = 'claim') then
        data := '';
      end if;
      exit when number <> after_ or clock > deadline or settling > 0;

      -- Whoever subscribes waits for all that come this far; and those that come after that see who has subscribed.
      perform pg_advisory_xact_lock_shared(hashtextextended(channel_, 0));
      if stands is null then
        insert into "looop".records values (kind_, key_, after_ + 1, data_, nullif(word_, '')) on conflict do nothing
          returning exists (select from "looop".listeners l where l.channel = channel_) into listened;
      else
        update "looop".records r set number = after_ + 1, data = data_, word = nullif(word_, '')
          where r.kind = kind_ and r.key = key_ and r.number = stands
          returning exists (select from "looop".listeners l where l.channel = channel_) into listened;
      end if;
      won := found;
      exit when won;               -- Else another came in between.
    end loop;
    if won then
      clock := $NOW$;
      if clock > deadline then     -- It has waited for a lock.
        raise exception using errcode = 'LP001', message = 'it was reached too late, so nothing was changed';
      end if;
      number := after_ + 1;
      data := null;
      if kind_ = 'claim' and word_ <> '' then
        select greatest(r.number, low), r.data into registered, registration from "looop".records r
          where r.kind = 'session' and r.key = substring(word_ from 1 for position('\x2f'::bytea in word_) - 1);
        if not found then
          registered := low;
          registration := '';
        end if;
      end if;
      if listened then           -- The record itself, where it is small: `=NUMBER HEX`.
        perform pg_notify(channel_, case when length(data_) <= 500 then '=' || number || ' ' || encode(data_, 'hex') else '' end);
      end if;
    end if;
  end $$;

  create function "looop".look(
    key_ bytea, out clock float8, out number bigint, out data bytea, out registered bigint, out registration bytea,
    out seconds float8, out beat text)
  language plpgsql as $$
  declare
    stamp "looop".stamp;
    said bytea;
    low bigint;
  begin
    $KNOWN$
    low := stamp.floor;
    select r.number, r.data, r.word into number, data, said from "looop".records r where r.kind = 'claim' and r.key = key_;
    if not found or number < low then
      number := low;
      data := '';
      said := null;
    end if;
    if said is not null then
      select greatest(r.number, low), r.data into registered, registration from "looop".records r
        where r.kind = 'session' and r.key = substring(said from 1 for position('\x2f'::bytea in said) - 1);
      if not found then
        registered := low;
        registration := '';
      end if;
      select date_part('epoch', clock_timestamp() - b.at), b.beat into seconds, beat from "looop".beats b where b.word = said;
    end if;
    clock := $NOW$;
  end $$;

  create function "looop".scan(kind_ text, first bytea, last bytea, start bytea, most bigint)
  returns table (key bytea, number bigint, data bytea) language plpgsql as $$
  declare
    stamp "looop".stamp;
    low bigint := 0;
  begin
    if kind_ <> 'ticket' then
      $KNOWN$
      low := stamp.floor;
    end if;
    return query
      select r.key, greatest(r.number, low), case when kind_ = 'claim' and r.number < low then '' else r.data end
      from "looop".records r
      where r.kind = kind_ and r.key >= first and r.key < last and r.key > start order by r.key limit most;
  end $$;

  create function "looop".forget(kind_ text, key_ bytea, channel_ text) returns void language plpgsql as $$
  begin
    $DURABLE$
    if kind_ = 'beat' then
      delete from "looop".beats b where b.word = key_;
      return;
    end if;
    perform pg_advisory_xact_lock_shared(hashtextextended(channel_, 0));
    delete from "looop".records r where r.kind = kind_ and r.key = key_;
    if found and exists (select from "looop".listeners l where l.channel = channel_) then
      perform pg_notify(channel_, '');
    end if;
  end $$;

  create function "looop".beat(word_ bytea, lease float8, keep float8, out clock float8) language plpgsql as $$
  declare
    stamp "looop".stamp;
  begin
    $DURABLE$
    select * into stamp from "looop".stamp;
    if stamp.longest is null or stamp.longest < lease then
      -- While nothing is claimed it may be that of a session from before. What is settled stays so.
      update "looop".stamp s
        set longest = greatest(s.longest, lease),
            grace = case when clock_timestamp() < s.since + make_interval(secs => s.grace)
                    then greatest(s.grace, lease * 4 / 3) else s.grace end;
    end if;
    insert into "looop".beats values
      (word_, clock_timestamp(), gen_random_uuid(), clock_timestamp() + make_interval(secs => keep))
      on conflict (word) do update
      set at = clock_timestamp(), beat = excluded.beat, until = clock_timestamp() + make_interval(secs => keep);
    if random() < 0.002 then
      delete from "looop".beats b where b.until < clock_timestamp();
    end if;
    clock := $NOW$;
  end $$;

  create function "looop".heard(word_ bytea, out clock float8, out seconds float8, out beat text) language plpgsql as $$
  begin
    select date_part('epoch', clock_timestamp() - b.at), b.beat into seconds, beat from "looop".beats b where b.word = word_;
    clock := $NOW$;
  end $$;

  -- All that changes the record from now on sees the listener; what has changed it before that is committed.
  create function "looop".subscribe(channel_ text, owner_ text, seconds float8, payload text) returns void
  language plpgsql as $$
  begin
    perform set_config('synchronous_commit', 'off', true);
    delete from "looop".listeners l where l.until < clock_timestamp();
    perform pg_advisory_xact_lock(hashtextextended(channel_, 0));
    insert into "looop".listeners values (channel_, owner_, clock_timestamp() + make_interval(secs => seconds))
      on conflict (channel, owner) do update set until = excluded.until;
    perform pg_notify(channel_, payload);
  end $$;

  create function "looop".renew(owner_ text, seconds float8, out listening bigint) language plpgsql as $$
  begin
    perform set_config('synchronous_commit', 'off', true);
    update "looop".listeners l set until = clock_timestamp() + make_interval(secs => seconds) where l.owner = owner_;
    get diagnostics listening = row_count;
  end $$;

  create function "looop".unsubscribe(channel_ text, owner_ text) returns void language plpgsql as $$
  begin
    perform set_config('synchronous_commit', 'off', true);
    delete from "looop".listeners l where l.channel = channel_ and l.owner = owner_;
  end $$;

  insert into "looop".stamp (version, run, floor, why) values (1, $RUN$, 0, 'made');
  $LOST$
end $looop$
