-- What can happen to rows, in an order that the tests know.
CREATE TABLE plain (id int PRIMARY KEY, n int, body text);
ALTER TABLE plain ALTER body SET STORAGE EXTERNAL;
CREATE TABLE whole (id int PRIMARY KEY, n int, body text);
ALTER TABLE whole ALTER body SET STORAGE EXTERNAL;
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE keyless (n int, t text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
CREATE TABLE indexed (id int PRIMARY KEY, u text NOT NULL UNIQUE, n int);
ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_u_key;
CREATE TABLE foreigner (n int PRIMARY KEY);
SELECT pg_create_logical_replication_slot('story', 'pgoutput');
CREATE PUBLICATION story FOR TABLE plain, whole, keyless, indexed, foreigner;

-- 1: inserts in four tables
BEGIN;
INSERT INTO plain VALUES (1, 10, repeat('x', 66000)), (2, 20, 'b');
INSERT INTO whole VALUES (1, 10, repeat('x', 66000)), (2, 20, 'b');
INSERT INTO keyless VALUES (1, 'a'), (1, 'a'), (2, NULL);
INSERT INTO indexed VALUES (1, 'one', 1);
COMMIT;
-- 2: updates that keep the key, a large value unchanged
BEGIN;
UPDATE plain SET n = 11 WHERE id = 1;
UPDATE whole SET n = 11 WHERE id = 1;
UPDATE keyless SET t = 'z' WHERE n = 2;
UPDATE indexed SET n = 2 WHERE id = 1;
COMMIT;
-- 3: keys move
BEGIN;
UPDATE plain SET id = 3 WHERE id = 1;
UPDATE whole SET id = 3 WHERE id = 1;
UPDATE indexed SET u = 'uno' WHERE id = 1;
COMMIT;
-- 4: a table that is not captured, and one logical message in the transaction, one outside
BEGIN;
INSERT INTO foreigner VALUES (1);
UPDATE foreigner SET n = 2;
SELECT pg_logical_emit_message(true, 'cdc', 'inside');
INSERT INTO plain VALUES (4, 40, 'd');
COMMIT;
SELECT pg_logical_emit_message(false, 'cdc', 'outside');
-- 5: deletes, and a truncate of two tables with rows after it
BEGIN;
DELETE FROM plain WHERE id = 2;
DELETE FROM whole WHERE id = 2;
DELETE FROM keyless WHERE n = 1;
TRUNCATE plain, keyless;
INSERT INTO plain VALUES (5, 50, 'e');
COMMIT;
-- 6: another shape in mid-transaction
BEGIN;
INSERT INTO plain VALUES (6, 60, 'f');
ALTER TABLE plain ADD extra int DEFAULT 7;
INSERT INTO plain VALUES (7, 70, 'g', 8);
COMMIT;
-- 7: large, with parts rolled back, one of which describes a table first
BEGIN;
INSERT INTO plain VALUES (8, 80, repeat('x', 66000));
SAVEPOINT a;
INSERT INTO indexed VALUES (2, 'lost', 0);
INSERT INTO plain VALUES (9, 90, repeat('x', 66000));
ROLLBACK TO a;
INSERT INTO indexed VALUES (3, 'kept', 3);
SAVEPOINT b;
INSERT INTO plain VALUES (10, 100, repeat('x', 66000));
RELEASE b;
COMMIT;
-- 8: large and rolled back
BEGIN;
INSERT INTO plain VALUES (11, 110, repeat('x', 66000));
INSERT INTO plain VALUES (12, 120, 'l');
ROLLBACK;
-- 9: small again
INSERT INTO indexed VALUES (4, 'four', 4);
