-- Which addresses may be dialled, and which URLs and proxies an endpoint may have. Expectations are computed here with
-- PostgreSQL's own network operators; each query lists what differs from them, which is nothing.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SHOW webhook_outbox.allowed_networks;

CREATE TEMP TABLE closed (range cidr, reason text);
INSERT INTO closed VALUES
  ('0.0.0.0/8', 'reserved address'), ('10.0.0.0/8', 'private address'), ('100.64.0.0/10', 'private address'),
  ('127.0.0.0/8', 'loopback address'), ('169.254.0.0/16', 'link-local address'), ('172.16.0.0/12', 'private address'),
  ('192.0.0.0/24', 'reserved address'), ('192.0.2.0/24', 'reserved address'), ('192.88.99.0/24', 'reserved address'),
  ('192.168.0.0/16', 'private address'), ('198.18.0.0/15', 'reserved address'), ('198.51.100.0/24', 'reserved address'),
  ('203.0.113.0/24', 'reserved address'), ('224.0.0.0/4', 'reserved address'), ('240.0.0.0/4', 'reserved address'),
  ('255.255.255.255/32', 'reserved address'),
  ('::/128', 'reserved address'), ('::1/128', 'loopback address'), ('::/96', 'reserved address'),
  ('::/3', 'reserved address'), ('64:ff9b:1::/48', 'reserved address'), ('100::/64', 'reserved address'),
  ('2001::/32', 'reserved address'), ('2001::/23', 'reserved address'), ('2001:db8::/32', 'reserved address'),
  ('3fff::/20', 'reserved address'), ('4000::/2', 'reserved address'), ('8000::/1', 'reserved address'),
  ('5f00::/16', 'reserved address'), ('fc00::/7', 'private address'), ('fe80::/10', 'link-local address'),
  ('fec0::/10', 'private address'), ('ff00::/8', 'reserved address');
INSERT INTO closed
  SELECT r, 'address of a cloud''s metadata service'
  FROM unnest('{100.100.100.200,168.63.129.16,192.0.0.192,fd00:ec2::/32,fd20:ce::/32,fd00:c1::/32,
               fd00:42::/32,fd00:a9fe:a9fe::/48}'::cidr[]) r;

-- The first and the last address of each range, and its neighbours.
CREATE TEMP TABLE edge AS
  SELECT DISTINCT host(a)::inet AS address
  FROM closed,
       LATERAL (VALUES (network(range)::inet), (broadcast(range)),
                       (CASE WHEN range NOT IN ('0.0.0.0/8', '::/128', '::/96', '::/3') THEN network(range)::inet - 1 END),
                       (CASE WHEN host(broadcast(range)) NOT LIKE '255.255.255.255'
                              AND masklen(range) > 1 AND range <> 'ff00::/8' THEN broadcast(range)::inet + 1 END)) v(a)
  WHERE a IS NOT NULL;
CREATE FUNCTION pg_temp.expected(a inet) RETURNS text LANGUAGE sql AS $$
  SELECT c.reason FROM closed c WHERE a <<= c.range ORDER BY masklen(c.range) DESC LIMIT 1;
$$;

-- Each IPv4 address as it is, and in the forms of IPv6 that carry it.
CREATE TEMP TABLE form AS
  SELECT 'literal' AS form, address AS a, address AS dialled FROM edge WHERE family(address) = 4
  UNION ALL SELECT 'mapped', address, ('::ffff:' || host(address))::inet FROM edge WHERE family(address) = 4
  UNION ALL SELECT 'compatible', address, ('::' || host(address))::inet FROM edge
            WHERE family(address) = 4 AND address > '0.0.0.1'
  UNION ALL SELECT 'NAT64', address, ('64:ff9b::' || host(address))::inet FROM edge WHERE family(address) = 4
  UNION ALL SELECT '6to4', address,
                   regexp_replace(lpad(to_hex(address - '0.0.0.0'), 8, '0'), '(....)(....)', '2002:\1:\2::1')::inet
            FROM edge WHERE family(address) = 4
  UNION ALL SELECT 'IPv6', address, address FROM edge WHERE family(address) = 6;
SELECT form, count(*) AS addresses, count(webhook_outbox.judge_address(dialled)) AS refused
FROM form GROUP BY form ORDER BY form COLLATE "C";
SELECT f.*, webhook_outbox.judge_address(dialled) AS is, e AS expected
FROM form f,
     LATERAL (SELECT CASE WHEN form = 'compatible' THEN coalesce(pg_temp.expected(a), 'reserved address')
                          ELSE pg_temp.expected(a) END) x(e)
WHERE webhook_outbox.judge_address(dialled) IS DISTINCT FROM e ORDER BY form, a;
SELECT host(a) AS public FROM form WHERE form IN ('literal', 'IPv6') AND webhook_outbox.judge_address(dialled) IS NULL ORDER BY a;

-- What a list opens: everything, but for what has to be named.
SELECT DISTINCT webhook_outbox.judge_address(dialled, allowed_networks => '0.0.0.0/0, ::/0') AS still_refused,
       network(set_masklen(a, CASE family(a) WHEN 4 THEN 16 ELSE 32 END)) AS range
FROM form WHERE webhook_outbox.judge_address(dialled, allowed_networks => '0.0.0.0/0, ::/0') IS NOT NULL ORDER BY 2;
SELECT f.* FROM form f, closed c
WHERE f.a <<= c.range
  AND webhook_outbox.judge_address(dialled, allowed_networks => '8.8.8.8,' || c.range::text || ',9.9.9.9') IS NOT NULL
  AND c.reason = pg_temp.expected(f.a) AND NOT (family(f.a) = 6 AND f.a <<= '::/96' AND f.a > '::1');
SELECT address, list, webhook_outbox.judge_address(address, allowed_networks => list)
FROM (VALUES (inet '10.1.2.3', '10.1.2.3'), ('10.1.2.3', ' 10.1.2.0/24 '), ('10.1.2.3', '10.1.3.0/24'), ('10.1.2.3', '::/0'),
             ('::ffff:10.1.2.3', '10.0.0.0/8'), ('64:ff9b::a01:203', '10.0.0.0/8'), ('2002:a01:203::', '10.0.0.0/8'),
             ('127.0.0.1', '::1'), ('::1', '127.0.0.0/8'), ('::1', '::1'),
             ('169.254.169.254', '169.254.0.0/15'), ('169.254.169.254', '169.254.0.0/16'),
             ('169.254.169.254', '169.254.169.254'), ('169.254.169.253', '169.254.169.254'),
             ('::ffff:169.254.169.254', '0.0.0.0/0'), ('64:ff9b::a9fe:a9fe', '0.0.0.0/0'), ('fe80::1', '::/0'),
             ('fe80::1', 'fe80::/64'), ('fd00:ec2::254', 'fc00::/7'), ('fd00:ec2::254', 'fd00:ec2::254'),
             ('100.100.100.200', '100.64.0.0/10'), ('100.100.100.200', '100.100.100.200/32'), ('10.1.2.3', '')) v(address, list);

-- Plain http, and the server's own port on an address of this machine.
SELECT host(address) AS address, webhook_outbox.judge_address(address, 80, https => false) AS by_default,
       webhook_outbox.judge_address(address, 80, https => false, allowed_networks => '10.0.0.0/8') AS listed,
       webhook_outbox.judge_address(address, 80, https => false, allow_http => true) AS allowed
FROM unnest('{8.8.8.8,10.1.2.3,2606:4700::1111}'::inet[]) address;
SELECT host(address) AS address,
       webhook_outbox.judge_address(address, current_setting('port')::integer, allowed_networks => '0.0.0.0/0, ::/0') AS own_port,
       webhook_outbox.judge_address(address, 1, allowed_networks => '0.0.0.0/0, ::/0') AS other_port
FROM unnest('{127.0.0.1,127.1.2.3,0.0.0.0,::1,::,::ffff:127.0.0.1,64:ff9b::127.0.0.1,8.8.8.8}'::inet[]) address;

-- Lists that are none.
CREATE FUNCTION pg_temp.message(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT list, pg_temp.message(format('SELECT webhook_outbox.judge_address(''8.8.8.8'', allowed_networks => %L)', list))
FROM unnest(ARRAY['10.0.0.0/8,', ',', '10.0.0.0/8,,::1', '10.0.0.1/8', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1',
  '10.0.0.0/+8', '10.0/8', '010.0.0.0/8', 'example.com', '10.0.0.0/8 10.1.1.1', '::1/129', '[::1]', 'fe80::1%eth0',
  '::ffff:10.0.0.0/104', '64:ff9b::/96', '2002:a00::/24', '10.0.0.0/255.0.0.0', repeat('1', 100),
  '10.0.0.0/8' || chr(10) || ', ::1 ']) list;
SELECT pg_temp.message(format('SELECT webhook_outbox.judge_address(''8.8.8.8'', allowed_networks => %L)',
                              (SELECT string_agg('10.0.0.' || n, ',') FROM generate_series(0, m - 1) n)))
FROM unnest('{128,129}'::int[]) m;
ALTER SYSTEM SET webhook_outbox.allowed_networks = '10.0.0.0/8, 10.0.0.1/8';
ALTER SYSTEM SET webhook_outbox.proxy = 'http://user:secret@proxy.example.com';
SELECT pg_temp.message('SELECT webhook_outbox.judge_address(''8.8.8.8'', 0)');

-- Addresses in URLs, in every spelling: each is judged as the address that it means.
CREATE FUNCTION pg_temp.octets(a inet, form text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(CASE form WHEN 'hex' THEN '0x' || to_hex(o::integer)
                              WHEN 'octal' THEN '0' || (o::integer / 64) || (o::integer / 8 % 8) || (o::integer % 8) END,
                    '.' ORDER BY n)
  FROM unnest(string_to_array(host(a), '.')) WITH ORDINALITY u(o, n);
$$;
CREATE TEMP TABLE spelling AS
  SELECT a, s.spelling, s.host
  FROM (SELECT address AS a, address - '0.0.0.0' AS n, split_part(host(address), '.', 1) AS first
        FROM edge WHERE family(address) = 4) e,
       LATERAL (VALUES
         ('dotted', host(a)), ('dot at the end', host(a) || '.'), ('decimal', n::text), ('hex', '0x' || to_hex(n)),
         ('HEX', '0X' || upper(to_hex(n))), ('hex dotted', pg_temp.octets(a, 'hex')),
         ('octal dotted', pg_temp.octets(a, 'octal')),
         ('two parts', first || '.' || n % 16777216),
         ('two parts, hex', '0x' || to_hex(first::integer) || '.0x' || to_hex(n % 16777216)),
         ('three parts', first || '.' || n / 65536 % 256 || '.' || n % 65536),
         ('percent', (SELECT string_agg('%' || to_hex(ascii(c)), '' ORDER BY i)
                      FROM unnest(string_to_array(host(a), NULL)) WITH ORDINALITY u(c, i))),
         ('mapped', '[::ffff:' || host(a) || ']'),
         ('mapped, hex', '[::FFFF:' || to_hex(n / 65536) || ':' || to_hex(n % 65536) || ']'),
         ('NAT64', '[64:ff9b::' || host(a) || ']'), ('6to4', '[2002:' || to_hex(n / 65536) || ':' || to_hex(n % 65536) || '::1]'))
       s(spelling, host);
INSERT INTO spelling SELECT address, 'IPv6', '[' || host(address) || ']' FROM edge WHERE family(address) = 6;
SELECT spelling, count(*) AS urls,
       count(pg_temp.message(format('SELECT webhook_outbox.check_url(%L)', 'https://' || host || '/x'))) AS refused
FROM spelling GROUP BY spelling ORDER BY spelling COLLATE "C";
SELECT s.*, m AS message
FROM spelling s,
     LATERAL (SELECT pg_temp.message(format('SELECT webhook_outbox.check_url(%L)', 'https://' || host || ':8443/x?y'))) x(m)
WHERE m IS DISTINCT FROM format('22023 URL "https://%s:8443/x..." is not permitted: %s', host, pg_temp.expected(a))
  AND (m IS NOT NULL OR pg_temp.expected(a) IS NOT NULL) AND NOT (spelling = 'IPv6' AND a <<= '::/96' AND a > '::1');
SELECT url, pg_temp.message(format('SELECT webhook_outbox.check_url(%L)', url))
FROM unnest('{https://localhost/,https://LocalHost:8443/,https://localhost./,https://a.b.localhost/,https://notlocalhost/,
  https://localhost.example.com/,https://[fe80::1%25eth0]/,https://[::1]:1/,https://127.0.0.1.example.com/,https://0/,
  https://127.1/,https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/,https://127%2e0%2e0%2e1/,https://[::ffff:0:127.0.0.1]/,
  https://8.8.8.8/,http://8.8.8.8/,http://10.0.0.1/,http://example.com/,HTTP://example.com/}'::text[]) url;

-- What is no name, and no address to everybody.
SELECT url, pg_temp.message(format('SELECT webhook_outbox.check_url(%L)', url)) IS NOT NULL AS is_refused
FROM unnest('{https://a/,https://a./,https://a-b.c_d/,https://1.2.3.4.example/,https://8.8.8.8./,https://0x08080808/,
  https://./,https://a../,https://.a/,https://a..b/,https://1.2.3.4.5/,https://8.8.8.256/,https://08.8.8.8/,https://4429711368/,
  https://0x108080808/,https://8.8.8.8.0x/,https://a.8./}'::text[] ||
  ('https://' || repeat('a', 63) || '.example/') || ('https://' || repeat('a', 64) || '.example/')) url;

-- Proxies. A wrong one is not shown: it may hold a password.
SELECT proxy, pg_temp.message(format('SELECT webhook_outbox.check_proxy(%L)', proxy))
FROM unnest(ARRAY['', 'http://proxy.example.com:3128', 'https://proxy.example.com/', 'http://8.8.8.8:3128',
  'http://[2606:4700::1]:3128', 'http://10.0.0.1:3128', 'http://127.1:3128', 'http://localhost:3128',
  'http://169.254.169.254', 'proxy.example.com:3128',
  'socks5://proxy.example.com', 'http://user:secret@proxy.example.com', 'http://', 'http://:3128', 'http://proxy.example.com:0',
  'http://proxy.example.com:65536', 'http://proxy.example.com:x', 'http://proxy.example.com/path',
  'http://proxy.example.com?secret', 'http://a b/', 'http://[::1', 'http://%31']) proxy;

-- Endpoints.
SELECT webhook_outbox.create_endpoint('inside', 'https://10.0.0.1/hooks?token=secret');
SELECT webhook_outbox.create_endpoint('inside', 'https://example.com/', proxy => 'http://10.0.0.1:3128');
SELECT name FROM webhook_outbox.create_endpoint('outside', 'https://example.com/', proxy => 'http://proxy.example.com:3128');
UPDATE webhook_outbox.endpoint SET url = 'https://[::1]/';
UPDATE webhook_outbox.endpoint SET proxy = 'http://[::1]:3128';
UPDATE webhook_outbox.endpoint SET proxy = '';
UPDATE webhook_outbox.endpoint SET proxy = NULL;
-- one from when more was allowed can still be paused, or led elsewhere
ALTER TABLE webhook_outbox.endpoint DISABLE TRIGGER endpoint_before_write;
UPDATE webhook_outbox.endpoint SET url = 'http://10.0.0.1/', proxy = 'http://10.0.0.2';
ALTER TABLE webhook_outbox.endpoint ENABLE TRIGGER endpoint_before_write;
SELECT webhook_outbox.pause_endpoint('outside');
UPDATE webhook_outbox.endpoint SET description = 'was allowed' RETURNING name, url, proxy, enabled;

-- Each reason has its hint.
SELECT reason, webhook_outbox.blocked_hint('proxy not permitted: ' || reason) AS hint
FROM (SELECT DISTINCT reason FROM closed UNION
      SELECT unnest('{plain http,port of this PostgreSQL server,something else}'::text[])) r
ORDER BY reason COLLATE "C";
DROP EXTENSION webhook_outbox;
