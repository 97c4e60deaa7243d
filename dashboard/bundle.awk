# awk -f bundle.awk DIR/app.js: prints it and all that it imports as one module, without
# comments and most blanks, and with let for const, so that a browser asks once, for less. Every module
# becomes a function that is called once and returns its exports. What it would not do right it refuses:
# imports and exports in other forms than below, circles, literals that go on in the next line, and
# loops in one line, which may have no body. A comment behind code is one only behind three spaces.

function refuse() {
	print path[depth] ":" number[depth] ": bundle.awk cannot do this: " line > "/dev/stderr"
	exit 1
}

function odd(text, quote) {
	return gsub(quote, "", text) % 2
}

# Text without blanks wherever a form occurs in it that has one.
function without_blanks(form, text,    part) {
	while (match(text, form)) {
		part = substr(text, RSTART, RLENGTH)
		gsub(/ /, "", part)
		text = substr(text, 1, RSTART - 1) part substr(text, RSTART + RLENGTH)
	}
	return text
}

# Code without the blanks around signs, but where they keep two of + or - apart, and without what may be
# left out before a bracket.
function tight(text,    i, sign) {
	for (i = 1; i <= length(SIGNS); i++) {
		sign = substr(SIGNS, i, 1)
		gsub(" *[" sign "] *", sign == "&" ? "\\&" : sign, text)
	}
	gsub(/[,;]}/, "}", text)
	gsub(/,]/, "]", text)
	return without_blanks("(^|[^- ]) -=? ?([^- ]|$)", without_blanks("(^|[^+ ]) [+]=? ?([^+ ]|$)", text))
}

# A line likewise. What stands in quotes stays, and all of a line in which a regular expression
# may begin.
function squeeze(text,    out, from, size) {
	if (text ~ regexp)
		return text
	while (match(text, literal)) {
		from = RSTART
		size = RLENGTH
		out = out tight(substr(text, 1, from - 1)) substr(text, from, size)
		text = substr(text, from + size)
	}
	return out tight(text)
}

# The path that text, ending in 'from ...', means to the module in folder.
function resolve(folder, text) {
	sub(/.* from '/, "", text)
	sub(/'.*/, "", text)
	text = folder text
	gsub(/\/\.\//, "/", text)
	while (sub(/\/[^\/]+\/\.\.\//, "/", text))
		;
	return text
}

# The names in '{ a as x, b }' or 'a', as they are called by who exports them.
function split_names(text, list) {
	gsub(/ as [^, ]+|[{} ]/, "", text)
	return split(text, list, ",")
}

# The statement that does what an import does.
function imported(folder,    text, from, list, i) {
	from = resolve(folder, line)
	text = line
	if (!(from in names))
		bundle(from)
	line = text
	sub(/^import /, "", text)
	sub(/ from .*/, "", text)
	if (sub(/^[*] as /, "", text))
		return "const " text " = " names[from] ";"
	if (text !~ /^[{]/)
		text = "{ default as " text " }"
	for (i = split_names(text, list); i > 0; i--)
		if (!((from, list[i]) in exported))
			refuse()
	gsub(/ as /, ": ", text)
	return "const " text " = " names[from] ";"
}

# Whether a line is a let with all that belongs to it.
function is_declaration() {
	return line ~ /^let[^a-zA-Z0-9_].*;$/ && gsub(/[[({]/, "&", line) == gsub(/[])}]/, "&", line)
}

function bundle(file,    folder, comment, text, body, exports, list, n, i, before, declared) {
	if (file in opened)
		refuse()
	opened[file]
	path[++depth] = file
	number[depth] = 0
	folder = file
	sub(/[^\/]*$/, "", folder)
	while ((n = (getline line < file)) > 0) {
		number[depth]++
		sub(/^[ \t]+/, "", line)
		if (line == "" || line ~ /^\/\//)
			continue
		comment = sub(/   +\/\/ .*/, "", line)
		if (odd(line, "`") || line ~ /\\$/ || comment && (odd(line, "'") || odd(line, "\"")))
			refuse()
		if (line ~ /import *[(.]/ || line ~ /^(;|(for|while) .*\);$)/)
			refuse()
		if (line ~ /^import[^a-zA-Z0-9_]/) {
			if (line !~ import_form)
				refuse()
			line = imported(folder)
		} else if (line ~ /^export[^a-zA-Z0-9_]/) {
			if (line !~ export_form)
				refuse()
			sub(/^export /, "", line)
			text = line
			sub(/^(const|class|function) /, "", text)
			if (sub(/^default /, "const $default = ", line))
				text = "default"
			else if (text ~ /^[{]/)
				sub(/[}].*/, "", text)
			else
				sub(/[^a-zA-Z0-9_].*/, "", text)
			for (i = split_names(text, list); i > 0; i--) {
				exported[file, list[i]]
				exports = exports (list[i] == "default" ? "default: $default" : list[i]) ", "
			}
		}
		sub(/^const /, "let ", line)
		gsub(/\(const /, "(let ", line)
		line = squeeze(line)
		if (line ~ /^[]}).?:&|]/)
			sub(line ~ /^}/ ? "[,;\n]$" : line ~ /^[])]/ ? "[,\n]$" : "\n$", "", body)
		before = declared
		declared = is_declaration()
		if (before && declared) {
			sub(/^let */, "", line)
			sub(/;$/, ",", body)
		}
		body = body line (line ~ /[;{,(]$|^(if|for|while)[(].*[)]$/ ? "" : "\n")
	}
	if (n < 0)
		refuse()
	close(file)
	depth--
	names[file] = "module" ++count
	printf "let %s = (() => {\n%sreturn { %s};\n})();\n", names[file], body, exports
}

BEGIN {
	SIGNS = "=(){},;:?<>&|!*%"
	literal = "'([^'\\\\]|\\\\.)*'|\"([^\"\\\\]|\\\\.)*\"|`.*`"
	regexp = "(^|[[(,=:!&|?{};]|return) */[^/*]"
	name = "[a-zA-Z_][a-zA-Z0-9_]*"
	item = name "( as " name ")?"
	import_form = "^import (([*] as )?" name "|[{] " item "(, " item ")* [}]) from '[.][^']*';$"
	export_form = "^export (default [{]|(class|function) " name "[ (]|const (" name \
		"|[{] " name "(, " name ")* [}]) =)"
	bundle(ARGV[1])
}
