-- exponential_schedule and type_matches: pure functions.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;

-- "1 s, doubling, 5 retries"
SELECT webhook_outbox.exponential_schedule('1 s', attempts => 6);
SELECT webhook_outbox.exponential_schedule('10 min', 3, '5 h', 7);
SELECT webhook_outbox.exponential_schedule('1 s', 1, attempts => 2);
SELECT cardinality(webhook_outbox.exponential_schedule('1 s', 1000, '1 year', 101));
SELECT webhook_outbox.exponential_schedule('100 ms', 1.5, attempts => 5);

-- refused
SELECT webhook_outbox.exponential_schedule('0');
SELECT webhook_outbox.exponential_schedule('-1 s');
SELECT webhook_outbox.exponential_schedule('2 years');
SELECT webhook_outbox.exponential_schedule(NULL);
SELECT webhook_outbox.exponential_schedule('1 s', 0.5);
SELECT webhook_outbox.exponential_schedule('1 s', 'NaN');
SELECT webhook_outbox.exponential_schedule('1 s', 'Infinity');
SELECT webhook_outbox.exponential_schedule('1 h', max_delay => '1 min');
SELECT webhook_outbox.exponential_schedule('1 s', max_delay => '2 years');
SELECT webhook_outbox.exponential_schedule('1 s', attempts => 1);
SELECT webhook_outbox.exponential_schedule('1 s', attempts => 102);

-- Patterns: exact, everything below a word, everything but the reserved types.
SELECT p AS pattern, array_agg(t ORDER BY n) FILTER (WHERE webhook_outbox.type_matches(ARRAY[p], t)) AS matches
FROM unnest('{*,order.*,order.created,order.line.*,order,Order.*,webhook_outbox.*,webhook_outbox.test}'::text[]) WITH ORDINALITY AS a(p, m),
     unnest('{order,order.created,order.line.added,orders.created,webhook_outbox.test,webhook_outboxes}'::text[]) WITH ORDINALITY AS b(t, n)
GROUP BY p, m ORDER BY m;
SELECT webhook_outbox.type_matches('{user.*,order.paid}', 'order.paid') AS any_of_several,
       webhook_outbox.type_matches('{}', 'order.paid') AS none,
       webhook_outbox.type_matches(NULL, 'order.paid') AS of_null;
DROP EXTENSION webhook_outbox;
