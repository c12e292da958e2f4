package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tallyhook/tallyhook/journal"
)

// journalCmd reads the segment files themselves, beside a node or without one.
type journalCmd struct {
	List   journalListCmd   `cmd:"" help:"List the segment files of the data folder's journal."`
	Verify journalVerifyCmd `cmd:"" help:"Read every record and check all that can be checked; exit 1 names the file and the place of the first damage."`
}

func (a *app) journalDir() string { return filepath.Join(a.opt.Data, "journal") }

type journalListCmd struct {
	JSON bool `help:"Print each segment as JSON on a line of its own."`
}

// segmentRow is a segment file as it is listed. Times and last are absent when
// it holds no record.
type segmentRow struct {
	File    string `json:"file"`
	Stream  uint32 `json:"stream"`
	First   uint64 `json:"first_seq"`
	Last    uint64 `json:"last_seq,omitempty"`
	Records uint64 `json:"records"`
	FirstAt string `json:"first_received_at,omitempty"`
	LastAt  string `json:"last_received_at,omitempty"`
	Bytes   int64  `json:"bytes"`
	Live    bool   `json:"live"`
}

func segmentRowOf(s *journal.SegmentInfo) segmentRow {
	row := segmentRow{File: filepath.Base(s.Name), Stream: s.Stream, First: s.First, Records: s.Last + 1 - s.First, Bytes: s.Bytes, Live: s.Live}
	if row.Records > 0 {
		row.Last, row.FirstAt, row.LastAt = s.Last, micros(s.FirstAt), micros(s.LastAt)
	}
	return row
}

func micros(at int64) string { return time.UnixMicro(at).UTC().Format(time.RFC3339Nano) }

var segmentColumns = []column{
	{head: "FILE", path: "file"},
	{head: "STREAM", path: "stream", right: true},
	{head: "FIRST", path: "first_seq", right: true},
	{head: "LAST", path: "last_seq", right: true},
	{head: "RECORDS", path: "records", right: true},
	{head: "FROM (UTC)", path: "first_received_at", show: moment},
	{head: "TO (UTC)", path: "last_received_at", show: moment},
	{head: "MIB", path: "bytes", show: mebibytes, right: true},
	{head: "STATE", path: "live", show: segmentState},
}

func mebibytes(v any) string {
	n, ok := v.(json.Number)
	if !ok {
		return ""
	}
	bytes, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return fmt.Sprintf("%.1f", bytes/(1<<20))
}

func segmentState(v any) string {
	if v == true {
		return "live"
	}
	return "closed"
}

func (j journalListCmd) Run(a *app) error {
	infos, err := journal.List(a.journalDir())
	if err != nil {
		return err
	}
	rows := make([]json.RawMessage, len(infos))
	for i := range infos {
		if rows[i], err = json.Marshal(segmentRowOf(&infos[i])); err != nil {
			return err
		}
	}
	return a.showRows(newTable(a.out, segmentColumns), rows, j.JSON)
}

type journalVerifyCmd struct {
	JSON bool `help:"Print the report as JSON."`
}

// journalReport is the outcome of a verification.
type journalReport struct {
	OK       bool   `json:"ok"`
	Stream   uint32 `json:"stream"`
	Store    string `json:"store"`
	Segments int    `json:"segments"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
	Records  uint64 `json:"records"`
	Bytes    int64  `json:"bytes"`
	Loose    int64  `json:"loose_bytes"`
	Fault    string `json:"fault,omitempty"`
}

func (j journalVerifyCmd) Run(a *app) error {
	bar := a.newProgress("journal verify", "bytes")
	r, err := journal.Verify(a.journalDir(), bar.set)
	bar.end()
	if j.JSON {
		report := journalReport{err == nil, r.Stream, r.Store, r.Segments, r.First, r.Last, r.Records, r.Bytes, r.Loose, ""}
		if err != nil {
			report.Fault = err.Error()
		}
		if jerr := a.printJSON(report); jerr != nil {
			return jerr
		}
		return err
	}
	if err != nil {
		if r.Records > 0 {
			fmt.Fprintf(a.errOut, "whole before that: %s, the last one is %d\n", plural(int64(r.Records), "record"), r.Last)
		}
		return err
	}
	between := ""
	if r.Records > 0 {
		between = fmt.Sprintf(" (%d to %d)", r.First, r.Last)
	}
	fmt.Fprintf(a.out, "The journal of stream %d is whole: %s%s in %s, %.1f MiB read.\n",
		r.Stream, plural(int64(r.Records), "record"), between, plural(int64(r.Segments), "segment"), float64(r.Bytes)/(1<<20))
	if r.Loose > 0 {
		fmt.Fprintf(a.out, "Behind the last record lies what was never acknowledged, %s; the next start cuts it off.\n", plural(r.Loose, "byte"))
	}
	return nil
}
