-- What the console's HTML is made of: text, numbers, times, states and SQL. Everything that strangers wrote (types, tenants,
-- names, errors, responses) goes through html_escape, and nothing else puts it on the page; it stands between tags only, never
-- in an attribute. What these functions return is ASCII, so the page is right in any encoding.

CREATE FUNCTION webhook_outbox.html_char(p_char text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_utf8 bytea;
  v_code integer;
BEGIN
  v_utf8 := CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN E'\\xefbfbd' ELSE convert_to(p_char, 'UTF8') END;
  v_code := CASE length(v_utf8)
    WHEN 1 THEN get_byte(v_utf8, 0)
    WHEN 2 THEN (get_byte(v_utf8, 0) & 31) * 64 + (get_byte(v_utf8, 1) & 63)
    WHEN 3 THEN (get_byte(v_utf8, 0) & 15) * 4096 + (get_byte(v_utf8, 1) & 63) * 64 + (get_byte(v_utf8, 2) & 63)
    ELSE (get_byte(v_utf8, 0) & 7) * 262144 + (get_byte(v_utf8, 1) & 63) * 4096
         + (get_byte(v_utf8, 2) & 63) * 64 + (get_byte(v_utf8, 3) & 63) END;
  -- no character of XML, invisible, or one that turns the direction of what follows: shown as the replacement character
  IF v_code < 160 OR v_code IN (173, 1564, 65279, 65529, 65530, 65531) OR v_code BETWEEN 8203 AND 8207
     OR v_code BETWEEN 8232 AND 8238 OR v_code BETWEEN 8288 AND 8303 OR v_code BETWEEN 57344 AND 63743
     OR (v_code & 65534) = 65534 OR v_code > 917503 THEN
    v_code := 65533;
  END IF;
  RETURN '&#' || v_code || ';';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_char(text) IS
  'the reference that stands for one character beyond printable ASCII; invisible ones and those that turn text become U+FFFD';

CREATE FUNCTION webhook_outbox.html_escape(p_text text, p_max integer DEFAULT 200, p_keep_lines boolean DEFAULT false)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_text text := left(p_text, p_max);
BEGIN
  IF p_text IS NULL THEN
    RETURN '';
  END IF;
  IF NOT p_keep_lines THEN
    v_text := translate(v_text, E'\t\r\n', '   ');
  END IF;
  v_text := replace(replace(replace(replace(replace(v_text,
    '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');
  IF v_text COLLATE "C" ~ E'[^ -~\n]' THEN
    SELECT string_agg(CASE WHEN c.c COLLATE "C" ~ E'[ -~\n]' THEN c.c ELSE webhook_outbox.html_char(c.c) END, '' ORDER BY c.n)
      INTO v_text FROM string_to_table(v_text, NULL) WITH ORDINALITY c (c, n);
  END IF;
  RETURN v_text || CASE WHEN length(p_text) > p_max THEN '&#8230;' ELSE '' END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_escape(text, integer, boolean) IS
  'text as HTML that is only text, cut after p_max characters; line ends become spaces unless p_keep_lines';

-- Quoted for SQL that is to be copied from the page: what html_escape would change stands as an escape.

CREATE FUNCTION webhook_outbox.sql_literal(p_text text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF p_text COLLATE "C" ~ '^[ -~]*$' OR current_setting('server_encoding') <> 'UTF8' THEN
    RETURN quote_literal(p_text);
  END IF;
  RETURN 'E''' || (
    SELECT string_agg(
      CASE WHEN c.c IN ('''', E'\\') THEN c.c || c.c
           WHEN c.c COLLATE "C" ~ '[ -~]' OR (ascii(c.c) > 159 AND webhook_outbox.html_char(c.c) <> '&#65533;') THEN c.c
           ELSE E'\\U' || lpad(to_hex(ascii(c.c)), 8, '0') END, '' ORDER BY c.n)
    FROM string_to_table(p_text, NULL) WITH ORDINALITY c (c, n)) || '''';
END
$$;
COMMENT ON FUNCTION webhook_outbox.sql_literal(text) IS
  'text as an SQL literal without any character that cannot be seen, so that it can be copied from a page';

CREATE FUNCTION webhook_outbox.html_sql(p_sql text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<pre>' || webhook_outbox.html_escape(p_sql, 4000, true) || '</pre>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_sql(text) IS 'SQL to copy: a click selects all of it';

-- Numbers for people: 1 234, 12.3 k, 99.95 %, 340 ms, 2 h 5 min. NULL is no data, and shown as a dash.

CREATE FUNCTION webhook_outbox.html_none() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '<span class="none">&#8211;</span>' $$;
COMMENT ON FUNCTION webhook_outbox.html_none() IS 'stands where there is no data';

-- Three digits are enough for people, and the last must not be rounded away: 2.5, 25, 250, but never 2.50.

CREATE FUNCTION webhook_outbox.html_digits(p_value double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_places integer := CASE WHEN abs(p_value) < 9.95 THEN 2 WHEN abs(p_value) < 99.5 THEN 1 ELSE 0 END;
BEGIN
  IF abs(p_value) >= 9.95 AND abs(p_value) = floor(abs(p_value)) THEN
    v_places := 0;
  END IF;
  RETURN trim_scale(round(p_value::numeric, v_places))::text;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_digits(double precision) IS 'a number with three digits, or fewer: 2.5, 12.3, 250';

CREATE FUNCTION webhook_outbox.html_count(p_value double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_abs  double precision := abs(p_value);
  v_sign text := CASE WHEN p_value < 0 THEN '&#8722;' ELSE '' END;
BEGIN
  RETURN v_sign || CASE
    WHEN p_value IS NULL THEN NULL
    WHEN v_abs < 999.5 THEN webhook_outbox.html_digits(v_abs)
    WHEN v_abs < 9999.5 THEN replace(to_char(v_abs, 'FM9,999'), ',', '&#8239;')
    WHEN v_abs < 999500 THEN webhook_outbox.html_digits(v_abs / 1e3) || '&#8239;k'
    WHEN v_abs < 999.5e6 THEN webhook_outbox.html_digits(v_abs / 1e6) || '&#8239;M'
    ELSE webhook_outbox.html_digits(v_abs / 1e9) || '&#8239;G' END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_count(double precision) IS 'a count: 999, 1 234, 12.3 k, 4.56 M; NULL: NULL';

CREATE FUNCTION webhook_outbox.html_count_of(p_value bigint, p_one text, p_many text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN webhook_outbox.html_count(p_value) || ' ' || CASE p_value WHEN 1 THEN p_one ELSE p_many END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_count_of(bigint, text, text) IS 'a count with its noun: 1 delivery, 12 deliveries';

-- Cut, not rounded: 99.996 % is not 100 %. The closer to 100, the more digits matter.

CREATE FUNCTION webhook_outbox.html_percent(p_value double precision, p_places integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_value numeric := trunc(p_value::numeric, 9);
BEGIN
  RETURN CASE
    WHEN p_value IS NULL THEN NULL
    WHEN v_value < 0.01 AND p_value > 0 THEN '&lt;&#8239;0.01'
    WHEN v_value IN (0, 100) AND p_places IS NULL THEN v_value::integer::text
    WHEN p_places IS NOT NULL THEN trunc(v_value, p_places)::text
    WHEN v_value < 1 THEN trim_scale(trunc(v_value, 2))::text
    WHEN v_value < 90 THEN trim_scale(trunc(v_value, 1))::text
    WHEN v_value < 99.9 THEN trim_scale(trunc(v_value, 2))::text
    ELSE trim_scale(trunc(v_value, 3))::text END || '&#8239;%';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_percent(double precision, integer) IS
  'a percentage: 99.95 %, 100 % only when it is exactly that, 0 % only when it is none; p_places: for columns of them';

CREATE FUNCTION webhook_outbox.html_share(p_value double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE
    WHEN p_value < -999 THEN '&lt;&#8239;&#8722;999'
    WHEN p_value < 0 THEN '&#8722;' || ceil(-p_value)
    WHEN p_value > 0 AND p_value < 1 THEN '&lt;&#8239;1'
    ELSE floor(p_value)::text END || '&#8239;%';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_share(double precision) IS
  'a percentage without decimals, rounded down: what is left of a budget';

CREATE FUNCTION webhook_outbox.html_burn(p_value double precision, p_much double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_text text := CASE WHEN p_value > 0 AND p_value < 0.1 THEN '&lt;&#8239;0.1' WHEN p_value < 100 THEN to_char(p_value, 'FM990.0')
                      ELSE webhook_outbox.html_count(p_value) END;
BEGIN
  RETURN CASE WHEN p_value >= p_much THEN '<b>' || v_text || '</b>' ELSE v_text END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_burn(double precision, double precision) IS 'a burn rate, bold where it is much';

CREATE FUNCTION webhook_outbox.html_ms(p_ms double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_s bigint;
BEGIN
  IF p_ms < 999.5 THEN
    RETURN webhook_outbox.html_digits(greatest(p_ms, 0)) || '&#8239;ms';
  ELSIF p_ms < 59950 THEN
    RETURN trim_scale(round((p_ms / 1000)::numeric, CASE WHEN p_ms < 9950 THEN 2 ELSE 1 END)) || '&#8239;s';
  ELSIF p_ms >= 1e14 THEN
    RETURN 'for ever';
  END IF;
  v_s := round(p_ms / 1000);
  RETURN CASE
    WHEN v_s < 600 THEN v_s / 60 || '&#8239;min' || coalesce(' ' || nullif(v_s % 60, 0) || '&#8239;s', '')
    WHEN v_s < 3600 THEN v_s / 60 || '&#8239;min'
    WHEN v_s < 86400 THEN v_s / 3600 || '&#8239;h' || coalesce(' ' || nullif(v_s % 3600 / 60, 0) || '&#8239;min', '')
    WHEN v_s < 864000 THEN v_s / 86400 || '&#8239;d' || coalesce(' ' || nullif(v_s % 86400 / 3600, 0) || '&#8239;h', '')
    ELSE replace(to_char(v_s / 86400, 'FM999,999,999'), ',', '&#8239;') || '&#8239;d' END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_ms(double precision) IS
  'a duration in milliseconds: 340 ms, 1.2 s, 4 min 5 s, 2 h 5 min, 3 d 4 h';

CREATE FUNCTION webhook_outbox.html_interval(p_interval interval) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT webhook_outbox.html_ms((extract(epoch FROM p_interval) * 1000)::double precision) $$;
COMMENT ON FUNCTION webhook_outbox.html_interval(interval) IS 'a duration: 340 ms, 1.2 s, 2 h 5 min';

-- Times are those of the session's time zone, which the head of the page names.

CREATE FUNCTION webhook_outbox.html_time(p_at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT isfinite(p_at) THEN
    RETURN 'never';
  END IF;
  RETURN '<time datetime="' || to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '">'
    || CASE WHEN p_at::date = now()::date THEN to_char(p_at, 'HH24:MI')
            WHEN abs(extract(epoch FROM now() - p_at)) < 20000000 THEN to_char(p_at, 'FMDD Mon HH24:MI')
            ELSE to_char(p_at, 'FMDD Mon YYYY') END || '</time>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_time(timestamptz) IS
  'a time: 14:32 today, else 12 Mar 14:32, or 12 Mar 2024 when it is far';

CREATE FUNCTION webhook_outbox.html_ago(p_at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_s double precision;
  v_text text;
BEGIN
  IF NOT isfinite(p_at) THEN
    RETURN 'never';
  END IF;
  v_s := extract(epoch FROM now() - p_at);
  v_text := webhook_outbox.html_ms(round(abs(v_s)) * 1000);
  RETURN '<time datetime="' || to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '">'
    || CASE WHEN abs(v_s) < 1 THEN 'now' WHEN v_s > 0 THEN v_text || ' ago' ELSE 'in ' || v_text END || '</time>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_ago(timestamptz) IS 'a time as seen from now: 12 min ago, in 3 s';

CREATE FUNCTION webhook_outbox.html_age(p_since timestamptz) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_s double precision := floor(extract(epoch FROM now() - p_since));
BEGIN
  RETURN CASE WHEN v_s < 1 THEN '&lt;&#8239;1&#8239;s' ELSE webhook_outbox.html_ms(v_s * 1000) END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_age(timestamptz) IS 'how long ago, in whole seconds or more';

-- The shape before the word says the same as its colour.

CREATE FUNCTION webhook_outbox.html_state(p_level text, p_word text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<span class="state ' || CASE WHEN p_level IN ('good', 'warn', 'bad') THEN p_level ELSE 'idle' END || '">'
    || webhook_outbox.html_escape(p_word, 40) || '</span>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_state(text, text) IS 'a state in a word, marked as good, warn, bad or idle';

CREATE FUNCTION webhook_outbox.html_cell(p_label text, p_html text, p_class text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<td data-label="' || p_label || '"' || coalesce(' class="' || p_class || '"', '') || '>'
    || coalesce(nullif(p_html, ''), '<span class="none">&#8211;</span>') || '</td>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_cell(text, text, text) IS
  'a cell of a table; its label, never a stranger''s, stands before it on a narrow screen. '
  'Classes: n (number), name, text (may be long), short (in one line), plot';

CREATE FUNCTION webhook_outbox.html_table(p_heads text[], p_rows text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<table><thead><tr>'
    || (SELECT string_agg('<th scope="col"' || CASE WHEN left(h, 1) = '#' THEN ' class="n">' ELSE '>' END || ltrim(h, '#')
                          || '</th>', '' ORDER BY n)
        FROM unnest(p_heads) WITH ORDINALITY t (h, n))
    || E'</tr></thead>\n<tbody>' || p_rows || E'</tbody></table>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_table(text[], text) IS 'a table; heads that begin with # stand above numbers';

CREATE FUNCTION webhook_outbox.html_more(p_more bigint, p_sql text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF coalesce(p_more, 0) <= 0 THEN
    RETURN '';
  END IF;
  RETURN '<p class="note">And ' || webhook_outbox.html_count(p_more) || ' more:</p>' || webhook_outbox.html_sql(p_sql);
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_more(bigint, text) IS
  'how many are not on the page, with the SQL that shows them; nothing if they are';

CREATE FUNCTION webhook_outbox.html_section(p_id text, p_head text, p_note text, p_body text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<section id="' || p_id || '"><h2>' || p_head || coalesce(' <small>' || nullif(p_note, '') || '</small>', '')
    || E'</h2>\n' || p_body || E'</section>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.html_section(text, text, text, text) IS 'a part of the page with its heading';
