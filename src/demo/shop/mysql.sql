CREATE SCHEMA shop CHARACTER SET utf8mb4;
CREATE TABLE shop.customers (id int PRIMARY KEY, name text NOT NULL, city text, active boolean NOT NULL, since timestamp(6) NOT NULL);
CREATE TABLE shop.products (id int PRIMARY KEY, name text NOT NULL, price decimal(10,2) NOT NULL, stock int NOT NULL);
CREATE TABLE shop.orders (id bigint AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, status text NOT NULL, placed timestamp(6) NOT NULL);
CREATE TABLE shop.order_lines (order_id bigint, line int, product int NOT NULL, quantity int NOT NULL, price decimal(10,2) NOT NULL, PRIMARY KEY (order_id, line));
CREATE SCHEMA traffic;
CREATE TABLE traffic.digit (d int PRIMARY KEY);
INSERT INTO traffic.digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE VIEW traffic.number AS SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS i FROM traffic.digit a, traffic.digit b, traffic.digit c, traffic.digit e, traffic.digit f;
INSERT INTO shop.customers SELECT i, CONCAT('customer ', i), ELT(1 + i % 4, 'Berlin', 'Lyon', 'Porto', NULL), true, now(6) - INTERVAL i HOUR FROM traffic.number WHERE i BETWEEN 1 AND 10000;
INSERT INTO shop.products SELECT i, CONCAT('product ', i), (i * 137 % 9000) / 100.0 + 1, 10000 FROM traffic.number WHERE i BETWEEN 1 AND 200;
INSERT INTO shop.orders (id, customer, status, placed) SELECT i, 1 + i % 10000, 'shipped', now(6) - INTERVAL i MINUTE FROM traffic.number WHERE i BETWEEN 1 AND 40000;
INSERT INTO shop.order_lines SELECT 1 + i DIV 2, 1 + i % 2, 1 + i * 7 % 200, 1 + i % 3, 9.99 FROM traffic.number WHERE i < 80000;
UPDATE shop.products p JOIN (SELECT product, sum(quantity) AS sold FROM shop.order_lines GROUP BY product) s ON s.product = p.id SET p.stock = p.stock - s.sold;
CREATE PROCEDURE traffic.step()
BEGIN
  DECLARE dice double DEFAULT rand();
  DECLARE item int DEFAULT 1 + floor(rand() * 190);
  DECLARE n int DEFAULT 1 + floor(rand() * 4);
  DECLARE pieces int;
  DECLARE chosen bigint;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET chosen = NULL;
  START TRANSACTION;
  IF dice < 0.5 THEN
    INSERT INTO shop.orders (customer, status, placed) VALUES (1 + floor(rand() * 10000), 'new', now(6));
    SET chosen = LAST_INSERT_ID();
    WHILE n > 0 DO
      SET item = item + 1;
      SET pieces = 1 + floor(rand() * 5);
      INSERT INTO shop.order_lines SELECT chosen, n, id, pieces, price FROM shop.products WHERE id = item;
      UPDATE shop.products SET stock = stock - pieces WHERE id = item;
      SET n = n - 1;
    END WHILE;
  ELSE
    SET chosen = floor(rand() * 42000);
    SELECT id INTO chosen FROM shop.orders WHERE id >= chosen ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF dice < 0.75 THEN
      UPDATE shop.orders SET status = 'paid' WHERE id = chosen;
    ELSEIF dice < 0.85 THEN
      UPDATE shop.products p JOIN (SELECT product, sum(quantity) AS taken FROM shop.order_lines WHERE order_id = chosen GROUP BY product) s
        ON s.product = p.id SET p.stock = p.stock + s.taken;
      DELETE FROM shop.order_lines WHERE order_id = chosen;
      DELETE FROM shop.orders WHERE id = chosen;
    ELSEIF dice < 0.95 THEN
      SET item = 1 + floor(rand() * 9999);
      UPDATE shop.customers SET city = CONCAT('moved ', floor(rand() * 100)), active = NOT active WHERE id = item;
    ELSE
      UPDATE shop.products SET price = price + 0.01 WHERE id = item;
    END IF;
  END IF;
  COMMIT;
END
