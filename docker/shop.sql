-- The shop of docker/compose.yaml.
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, name text NOT NULL, city text);
CREATE TABLE shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer int NOT NULL REFERENCES shop.customers,
    status text NOT NULL DEFAULT 'new',
    placed timestamptz NOT NULL DEFAULT now()
);
INSERT INTO shop.customers SELECT i, 'customer ' || i, 'Lyon' FROM generate_series(1, 1000) i;
INSERT INTO shop.orders (customer) SELECT 1 + i % 1000 FROM generate_series(1, 10000) i;
