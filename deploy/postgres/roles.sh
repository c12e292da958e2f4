#!/usr/bin/env bash
# Runs once, when the server's data folder is made. Two roles: the owner, who
# migrates, and the one that nodes use, which gets its rights from
# "tallyhook store grant".
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\set owner_password `cat /run/secrets/postgres_owner_password`
\set app_password `cat /run/secrets/postgres_app_password`
-- The server's log shall not repeat them.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
CREATE ROLE tallyhook_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tallyhook_app LOGIN PASSWORD :'app_password';
CREATE DATABASE tallyhook OWNER tallyhook_owner;
REVOKE ALL ON DATABASE tallyhook FROM PUBLIC;
GRANT CONNECT ON DATABASE tallyhook TO tallyhook_app;
SQL
