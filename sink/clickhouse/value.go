package clickhouse

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// plain makes a scanned value one of sink.Table's.
func plain(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() == reflect.Pointer {
			if _, isTime := s.(*time.Time); !isTime {
				return s.String()
			}
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return string(event.AppendTime(nil, x.UnixMicro()))
	case fmt.Stringer: // decimals, UUIDs, addresses
		return x.String()
	}
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return int64(1)
		}
		return int64(0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n := v.Uint(); n > math.MaxInt64 {
			return fmt.Sprint(n)
		}
		return int64(v.Uint())
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsInf(f, 0) || math.IsNaN(f) {
			return fmt.Sprint(f)
		}
		return v.Float()
	case reflect.String:
		return v.String()
	}
	return asJSON(v)
}

// asJSON renders arrays, tuples and maps; what JSON cannot say is printed.
func asJSON(v reflect.Value) string {
	p, err := json.Marshal(jsonOf(v))
	if err != nil {
		return fmt.Sprint(v.Interface())
	}
	return string(p)
}

// jsonOf takes containers apart, so that what is in them is plain as well.
func jsonOf(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		if v.Type().Implements(stringer) {
			break
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = jsonOf(v.Index(i))
		}
		return list
	case reflect.Map:
		m := make(map[string]any, v.Len())
		for _, k := range v.MapKeys() {
			m[fmt.Sprint(plain(k))] = jsonOf(v.MapIndex(k))
		}
		return m
	case reflect.Interface:
		if !v.IsNil() {
			return jsonOf(v.Elem())
		}
	}
	return plain(v)
}

var stringer = reflect.TypeFor[fmt.Stringer]()
