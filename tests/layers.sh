#!/bin/bash
# make layers: checks who includes what. Run from the top of the checkout; names each offence.
set -u
set -o pipefail

mapfile -t files < <(find app shared taskd tests \( -name '*.[ch]' -o -name '*.tbl' \) | sort)

# Input: "file:include line". Each rule: the file's place, what it must not include, except where.
grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"][^>"]*' "${files[@]}" | awk '
	function refuse(why) { printf "%s includes %s: %s\n", file, name, why; bad = 1 }
	{
		at = index($0, ":")
		file = substr($0, 1, at - 1)
		name = $0
		sub(/^.*[<"]/, "", name)
		in_shared = file ~ /^shared\//; in_app = file ~ /^app\//; in_taskd = file ~ /^taskd\//
		is_public = file ~ /^shared\/include\/taskring\//
	}
	name ~ /\.\./ { refuse("a path upwards") }
	in_shared && name ~ /^(app|taskd)\// { refuse("shared/ knows neither app/ nor taskd/") }
	in_app && name ~ /^taskd\// { refuse("app/ and taskd/ do not know each other") }
	in_taskd && name ~ /^app\// { refuse("app/ and taskd/ do not know each other") }
	file ~ /^app\/handlers\// && name ~ /^(shared|taskd|app)\// { refuse("a plug-in sees public headers only") }
	is_public && name !~ /^(std[a-z]+\.h|(taskring\/)?(taskring\.h|handler\.h|resource\.h|results\.tbl|states\.tbl))$/ {
		refuse("a public header includes public ones only")
	}
	name == "fcgiapp.h" && file !~ /^(app\/fcgi\.c|tests\/.*)$/ { refuse("only app/fcgi.c speaks FastCGI") }
	name == "sqlite3.h" && file !~ /^(taskd\/journal[a-z_]*\.[ch]|shared\/archive[a-z_]*\.[ch]|shared\/recipe\.c|app\/signups\.c|app\/handlers\/[a-z_]+\.c|tests\/.*)$/ {
		refuse("SQLite is the journal'\''s, the archive'\''s, the signups'\'' and the plug-ins'\''")
	}
	name ~ /^uriparser\// && file != "app/uri.c" { refuse("only app/uri.c knows liburiparser") }
	name ~ /^curl\// && file !~ /^taskd\/modules\// { refuse("libcurl is loaded with taskd/modules/ only") }
	name == "confuse.h" && file !~ /^taskd\/config[a-z_]*\.[ch]$/ { refuse("libconfuse is taskd/config*.c'\''s") }
	name == "uv.h" && !in_taskd && file !~ /^(app\/handlers|tests)\// { refuse("libuv is taskd'\''s and the plug-ins'\''") }
	END { exit bad }
' || exit 1
echo "layers: ok (${#files[@]} files)"
