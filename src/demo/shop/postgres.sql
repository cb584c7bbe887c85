CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, name text NOT NULL, city text, active boolean NOT NULL, since timestamptz NOT NULL);
CREATE TABLE shop.products (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2) NOT NULL, stock int NOT NULL);
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL, status text NOT NULL, placed timestamptz NOT NULL);
CREATE TABLE shop.order_lines (order_id bigint, line int, product int NOT NULL, quantity int NOT NULL, price numeric(10,2) NOT NULL, PRIMARY KEY (order_id, line));
INSERT INTO shop.customers SELECT i, 'customer ' || i, (ARRAY['Berlin','Lyon','Porto',NULL])[1 + i % 4], true, now() - i * interval '1 hour' FROM generate_series(1, 10000) i;
INSERT INTO shop.products SELECT i, 'product ' || i, (i * 137 % 9000) / 100.0 + 1, 10000 FROM generate_series(1, 200) i;
INSERT INTO shop.orders (customer, status, placed) SELECT 1 + i % 10000, 'shipped', now() - i * interval '1 minute' FROM generate_series(1, 40000) i;
INSERT INTO shop.order_lines SELECT 1 + i / 2, 1 + i % 2, 1 + i * 7 % 200, 1 + i % 3, 9.99 FROM generate_series(0, 79999) i;
UPDATE shop.products p SET stock = stock - sold FROM (SELECT product, sum(quantity) AS sold FROM shop.order_lines GROUP BY 1) s WHERE s.product = p.id;
CREATE SCHEMA traffic;
CREATE FUNCTION traffic.step() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  dice float := random();
  item int := 1 + floor(random() * 190);
  pieces int;
  chosen bigint;
  taken record;
BEGIN
  IF dice < 0.5 THEN
    INSERT INTO shop.orders (customer, status, placed) VALUES (1 + floor(random() * 10000), 'new', clock_timestamp()) RETURNING id INTO chosen;
    FOR n IN 1 .. 1 + floor(random() * 4)::int LOOP
      item := item + 1;
      pieces := 1 + floor(random() * 5);
      INSERT INTO shop.order_lines SELECT chosen, n, id, pieces, price FROM shop.products WHERE id = item;
      UPDATE shop.products SET stock = stock - pieces WHERE id = item;
    END LOOP;
    RETURN;
  END IF;
  SELECT id INTO chosen FROM shop.orders WHERE id >= floor(random() * 42000) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF dice < 0.75 THEN
    UPDATE shop.orders SET status = 'paid' WHERE id = chosen;
  ELSIF dice < 0.85 THEN
    FOR taken IN DELETE FROM shop.order_lines WHERE order_id = chosen RETURNING product, quantity LOOP
      UPDATE shop.products SET stock = stock + taken.quantity WHERE id = taken.product;
    END LOOP;
    DELETE FROM shop.orders WHERE id = chosen;
  ELSIF dice < 0.95 THEN
    UPDATE shop.customers SET city = 'moved ' || floor(random() * 100), active = NOT active WHERE id = 1 + floor(random() * 9999)::int;
  ELSE
    UPDATE shop.products SET price = price + 0.01 WHERE id = item;
  END IF;
END $$;
ANALYZE;
