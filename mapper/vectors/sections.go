package vectors

import "strings"

// section is a part of a file in the txtar form: a line "-- NAME --", then text
// up to the next such line. The text ends in a line break or is empty.
type section struct{ name, text string }

// split parts a file into what stands before its first section and the
// sections. Every text can be split.
func split(file string) (head string, all []section) {
	start, name := 0, ""
	end := func(at int) {
		text := file[start:at]
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if name == "" {
			head = text
		} else {
			all = append(all, section{name, text})
		}
	}
	for at := 0; at < len(file); {
		next := len(file)
		if i := strings.IndexByte(file[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		if is := marker(file[at:next]); is != "" {
			end(at)
			start, name = next, is
		}
		at = next
	}
	end(len(file))
	return head, all
}

// marker is the name in a line that begins a section, "" of any other line.
func marker(line string) string {
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	name, begins := strings.CutPrefix(line, "-- ")
	name, ends := strings.CutSuffix(name, " --")
	if !begins || !ends {
		return ""
	}
	return strings.TrimSpace(name)
}

// join is the file that split parts so.
func join(head string, all []section) []byte {
	file := []byte(head)
	for _, s := range all {
		file = append(append(append(append(file, "-- "...), s.name...), " --\n"...), s.text...)
	}
	return file
}

// whole reports whether text stays in one section.
func whole(text string) bool {
	_, all := split(text)
	return len(all) == 0
}
