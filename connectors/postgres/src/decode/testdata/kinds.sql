-- Every type, in ordinary, null and extreme values.
SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 3;
CREATE TYPE mood AS ENUM ('sad', 'so "so"', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE DOMAIN price AS numeric(10,2);
CREATE DOMAIN nested AS price;
CREATE TABLE kinds (
  id int PRIMARY KEY, c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_oid oid, c_float4 float4, c_float8 float8,
  c_num numeric(12,3), c_num_neg numeric(5,-2), c_num_small numeric(2,5), c_num_wide numeric(60,20), c_num_any numeric,
  c_date date, c_time time, c_timetz timetz, c_ts timestamp, c_tstz timestamptz, c_interval interval, c_uuid uuid,
  c_bytea bytea, c_bit bit(10), c_varbit varbit, c_json json, c_jsonb jsonb, c_text text, c_varchar varchar(10),
  c_bpchar char(6), c_name name, c_char "char", c_mood mood, c_xml xml, c_inet inet, c_cidr cidr, c_mac macaddr,
  c_range int4range, c_mrange int4multirange, c_money money, c_tsv tsvector, c_point point, c_pair pair, c_posint posint,
  c_price price, c_nested nested, c_regclass regclass, c_lsn pg_lsn, a_int int[], a_text text[], a_num numeric(8,2)[],
  a_bool bool[], a_ts timestamptz[], a_uuid uuid[], a_inet inet[], a_box box[], a_mood mood[], a_bytea bytea[],
  a_grid int[][], a_posint posint[], a_bpchar char(4)[], a_json json[], a_float8 float8[], a_interval interval[],
  v_int int2vector);
SELECT pg_create_logical_replication_slot('kinds', 'pgoutput') \g /dev/null
CREATE PUBLICATION kinds FOR TABLE kinds;
INSERT INTO kinds VALUES
 (1, true, 7, 8, 9, 10, 1.5, 0.1, 123.456, 12300, 0.00012, 1234567890123456789012345.5, 10.00, '2024-02-29', '12:34:56.789',
  '12:34:56+05:30', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+02', '1 year 2 mons -3 days 04:05:06.789',
  '00112233-4455-6677-8899-aabbccddeeff', '\xdeadbeef', '1010101010', '101', '{"a" : 1}', '{"b": [1, 2]}', 'text', 'varchar',
  'pad', 'name', 'c', 'so "so"', '<?xml version="1.0" encoding="UTF-8"?><a/>', '10.1.2.3', '10.0.0.0/8', '08:00:2b:01:02:03',
  '[1,5)', '{[1,2),[5,9)}', 12.5, 'a fat cat', '(1,2)', '(1,"x,y")', 5, 9.99, 1.5, 'pg_class', '16/B374D848', '{1,NULL,3}',
  '{a,"b,c","d\"e\\f","",NULL,"NULL"," x "}', '{1.5,NULL,-2.25}', '{t,f}', '{"2024-01-01 00:00:00+00",infinity}',
  '{00112233-4455-6677-8899-aabbccddeeff}', '{10.1.2.3,::1/64}', '{(1,1),(0,0);(2,2),(1,1)}', '{sad,"so \"so\""}',
  '{"\\xdead",""}', '{{1,2},{3,4}}', '{1,2}', '{ab,abcd}', '{"{\"x\": \"y\"}",NULL}', '{NaN,-Infinity,1e-300}',
  '{"1 day","-00:00:00.000001"}', '1 2 3'),
 (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (3, false, -32768, -2147483648, -9223372036854775808, 0, '-Infinity', '-Infinity', -999999999.999, -9999900, -0.00099,
  -9999999999999999999999999999999999999999.99999999999999999999, -0.000000000000000000000000000000000000001, '4713-01-01 BC',
  '00:00', '00:00+15:59:59', '4713-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC', '-178000 years -1 mons -5 days -23:59:59.999999',
  '00000000-0000-0000-0000-000000000000', '', '0000000000', '', 'null', '{}', '', '', '', '', '', 'sad', '<a/>', '::1', '::/0',
  '00:00:00:00:00:00', 'empty', '{}', -92233720368547758.08, '', '(-1e300,NaN)', '(,)', 1, -99999999.99, -0.01, '-', '0/0', '{}',
  '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', ''),
 (4, true, 32767, 2147483647, 9223372036854775807, 4294967295, 'NaN', 'NaN', 999999999.999, 9999900, 0.00099,
  9999999999999999999999999999999999999999.99999999999999999999, 'NaN', '5874897-12-31', '24:00:00', '24:00:00-15:59:59',
  '294246-12-31 23:59:59.999999', '294246-12-31 23:59:59.999999+00', '178000000 years 11 mons 1 day 292:01:01.000001',
  'ffffffff-ffff-ffff-ffff-ffffffffffff', '\x00', '1111111111', repeat('01', 40)::varbit, '"\u00e9"', '"é"', 'é€𝄞', 'é€𝄞',
  'é€𝄞', 'é', '~', 'happy', 'é', '255.255.255.255/0', '255.255.255.255/32', 'ff:ff:ff:ff:ff:ff', '(,)', '{(,)}',
  92233720368547758.07, $$'it''s':1A$$, '(1e-300,Infinity)', '(4,"a ""q"" b é")', 2147483647, 99999999.99, 99999999.99, 'kinds',
  'FFFFFFFF/FFFFFFFF', '{2147483647,-2147483648}', '{é}', '{999999.99}', '{NULL}', '{-infinity}',
  '{ffffffff-ffff-ffff-ffff-ffffffffffff,NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{1,2}', '{2147483647}', '{NULL}',
  '{null}', '{0}', '{"178000000 years"}', '-1 32767'),
 (5, NULL, NULL, NULL, NULL, NULL, 3.4028235e38, 1.7976931348623157e308, 0.001, 0, 0, 0.00000000000000000001, 'Infinity', 'infinity',
  '23:59:59.999999', NULL, 'infinity', 'infinity', '00:00:00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (6, NULL, NULL, NULL, NULL, NULL, 1e-45, 5e-324, -0.001, 100, 0.00001, 10000, 123456789012345678901234567890.0001000, '-infinity',
  '00:00:00.000001', NULL, '-infinity', '-infinity', '-1 mons +1 day -00:00:01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
