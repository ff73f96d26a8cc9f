-- +goose Up
-- The newest sessions of a user are found in order.
DROP INDEX sessions_user;
CREATE INDEX sessions_user ON sessions (user_id, created_at, id);
-- An event's id is in the order of time.
DROP INDEX events_at;
-- Most entries are of users about themselves: those are found by their target.
DROP INDEX events_actor;
CREATE INDEX events_actor ON events (actor_id) WHERE actor_id <> target_id;

-- +goose Down
DROP INDEX events_actor;
CREATE INDEX events_actor ON events (actor_id, at);
CREATE INDEX events_at ON events (at, id);
DROP INDEX sessions_user;
CREATE INDEX sessions_user ON sessions (user_id);
