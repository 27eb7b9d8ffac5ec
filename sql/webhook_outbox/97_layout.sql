-- What is read and written in C goes by the number and the type of a column. A column whose type has been altered would be
-- taken for something else: payload as jsonb would be sent as the bytes that jsonb is on disk. A view keeps all columns that
-- the tables have now as they are, for the server alters or drops none that a view reads; adding columns is free. An update
-- that changes a table drops it before, and runs this again.

DO $$
BEGIN
  EXECUTE (
    SELECT 'CREATE VIEW webhook_outbox.fixed_layout AS SELECT true AS is_fixed FROM '
           || pg_catalog.string_agg(pg_catalog.format('(SELECT * FROM webhook_outbox.%1$I) %1$I', c.relname), ', ' ORDER BY c.relname)
           || ' WHERE false'
    FROM pg_catalog.pg_class c
    WHERE c.relnamespace = 'webhook_outbox'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition);
END
$$;
COMMENT ON VIEW webhook_outbox.fixed_layout IS
  'keeps the columns of the tables from being altered or dropped: the workers rely on their types. It has no rows';
COMMENT ON COLUMN webhook_outbox.fixed_layout.is_fixed IS 'nothing';
REVOKE ALL ON webhook_outbox.fixed_layout FROM PUBLIC;
