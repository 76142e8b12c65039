package pipeline

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// An encoded Event is a protobuf message, written by hand since it is written and read for every event. Fields that
// are zero are left out, and unknown ones skipped, so builds of different ages read each other's logs. Numbers are never
// reused.
//
//	1 frame  2 request  3 item  4 id  5 key  6 source  7 name  8 deviceId  9 userId
//	10 plain {1 deviceId  2 userId}  11 time (zigzag)  12 clientTime  13 receivedAt (zigzag)
//	14 property {1 name  2 value}, repeated
//	15 context {1 browser  2 version  3 os  4 device  5 language  6 page  7 referrer  8 ip  9 country  10 gpc  11 dnt
//	            12 consent {1 purpose  2 granted}, repeated}

// Append appends the event's encoded form: equal events give equal bytes.
func (e *Event) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, e.Frame)
	dst = appendUint(dst, 2, uint64(e.Request))
	dst = appendUint(dst, 3, uint64(e.Item))
	dst = appendText(dst, 4, e.ID)
	dst = appendText(dst, 5, e.Key)
	dst = appendText(dst, 6, e.Source)
	dst = appendText(dst, 7, e.Name)
	dst = appendText(dst, 8, e.DeviceID)
	dst = appendText(dst, 9, e.UserID)
	if e.Plain != nil {
		plain := appendText(appendText(nil, 1, e.Plain.DeviceID), 2, e.Plain.UserID)
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 10, protowire.BytesType), plain)
	}
	dst = appendUint(dst, 11, protowire.EncodeZigZag(e.Time))
	dst = appendUint(dst, 12, protowire.EncodeBool(e.ClientTime))
	dst = appendUint(dst, 13, protowire.EncodeZigZag(e.ReceivedAt))
	for i := range e.Properties {
		p := &e.Properties[i]
		size := protowire.SizeTag(1) + protowire.SizeBytes(len(p.Name)) + protowire.SizeTag(2) + protowire.SizeBytes(len(p.Value))
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 14, protowire.BytesType), uint64(size))
		dst = protowire.AppendString(protowire.AppendTag(dst, 1, protowire.BytesType), p.Name)
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 2, protowire.BytesType), p.Value)
	}
	var room [256]byte
	if c := e.Context.append(room[:0]); len(c) > 0 {
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 15, protowire.BytesType), c)
	}
	return dst
}

func (c *Context) append(dst []byte) []byte {
	for i, text := range [...]string{c.Browser, c.Version, c.OS, c.Device, c.Language, c.Page, c.Referrer, c.IP, c.Country} {
		dst = appendText(dst, protowire.Number(i+1), text)
	}
	dst = appendUint(dst, 10, protowire.EncodeBool(c.Privacy.GPC))
	dst = appendUint(dst, 11, protowire.EncodeBool(c.Privacy.DNT))
	for _, one := range c.Privacy.Consent {
		consent := appendUint(appendText(nil, 1, one.Purpose), 2, protowire.EncodeBool(one.Granted))
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 12, protowire.BytesType), consent)
	}
	return dst
}

func appendUint(dst []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, n, protowire.VarintType), v)
}

func appendText(dst []byte, n protowire.Number, v string) []byte {
	if v == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, n, protowire.BytesType), v)
}

// DecodeEvent reads what Append wrote. The event's property values are parts of data.
func DecodeEvent(data []byte) (Event, error) {
	var e Event
	err := eachField(data, func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 1:
			e.Frame = v
		case 2:
			e.Request = uint32(v)
		case 3:
			e.Item = uint32(v)
		case 4:
			e.ID = string(b)
		case 5:
			e.Key = string(b)
		case 6:
			e.Source = string(b)
		case 7:
			e.Name = string(b)
		case 8:
			e.DeviceID = string(b)
		case 9:
			e.UserID = string(b)
		case 10:
			e.Plain = &Identifiers{}
			return texts(b, &e.Plain.DeviceID, &e.Plain.UserID)
		case 11:
			e.Time = protowire.DecodeZigZag(v)
		case 12:
			e.ClientTime = v != 0
		case 13:
			e.ReceivedAt = protowire.DecodeZigZag(v)
		case 14:
			var p Property
			err := eachField(b, func(n protowire.Number, _ uint64, b []byte) error {
				switch n {
				case 1:
					p.Name = string(b)
				case 2:
					p.Value = b
				}
				return nil
			})
			e.Properties = append(e.Properties, p)
			return err
		case 15:
			return e.Context.decode(b)
		}
		return nil
	})
	if err != nil {
		return Event{}, fmt.Errorf("event of %d bytes: %w", len(data), err)
	}
	return e, nil
}

func (c *Context) decode(data []byte) error {
	if err := texts(data, &c.Browser, &c.Version, &c.OS, &c.Device, &c.Language, &c.Page, &c.Referrer, &c.IP, &c.Country); err != nil {
		return err
	}
	return eachField(data, func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 10:
			c.Privacy.GPC = v != 0
		case 11:
			c.Privacy.DNT = v != 0
		case 12:
			var one Consent
			err := eachField(b, func(n protowire.Number, v uint64, b []byte) error {
				switch n {
				case 1:
					one.Purpose = string(b)
				case 2:
					one.Granted = v != 0
				}
				return nil
			})
			c.Privacy.Consent = append(c.Privacy.Consent, one)
			return err
		}
		return nil
	})
}

// texts reads the fields 1, 2, … of a message into into.
func texts(data []byte, into ...*string) error {
	return eachField(data, func(n protowire.Number, _ uint64, b []byte) error {
		if int(n) <= len(into) {
			*into[n-1] = string(b)
		}
		return nil
	})
}

// eachField calls f with each field of a message: its number and value, in v or b by its type.
func eachField(data []byte, f func(n protowire.Number, v uint64, b []byte) error) error {
	for len(data) > 0 {
		n, t, size := protowire.ConsumeTag(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		var v uint64
		var b []byte
		switch t {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			b, size = protowire.ConsumeBytes(data)
		default:
			size = protowire.ConsumeFieldValue(n, t, data)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		if err := f(n, v, b); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON shows the event to people. Programs that need the exact bytes of values use Append: encoding/json compacts
// and re-escapes what this returns.
func (e Event) MarshalJSON() ([]byte, error) {
	b := append([]byte(nil), `{"id":`...)
	text := func(name, value string) {
		if value != "" {
			b = append(append(append(b, `,"`...), name...), `":`...)
			b = appendQuoted(b, value)
		}
	}
	b = appendQuoted(b, e.ID)
	b = fmt.Appendf(b, `,"frame":%d,"request":%d,"item":%d`, e.Frame, e.Request, e.Item)
	text("event", e.Name)
	text("source", e.Source)
	text("key", e.Key)
	text("deviceId", e.DeviceID)
	text("userId", e.UserID)
	if e.Plain != nil {
		text("plainDeviceId", e.Plain.DeviceID)
		text("plainUserId", e.Plain.UserID)
	}
	b = fmt.Appendf(b, `,"time":%d,"clientTime":%t,"receivedAt":%d,"properties":{`, e.Time, e.ClientTime, e.ReceivedAt)
	for i, p := range e.Properties {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, p.Name), ':'), p.Value...)
	}
	b = append(b, '}')
	c := &e.Context
	text("browser", c.Browser)
	text("browserVersion", c.Version)
	text("os", c.OS)
	text("device", c.Device)
	text("language", c.Language)
	text("page", c.Page)
	text("referrer", c.Referrer)
	text("ip", c.IP)
	text("country", c.Country)
	b = fmt.Appendf(b, `,"gpc":%t,"dnt":%t,"consent":{`, c.Privacy.GPC, c.Privacy.DNT)
	for i, one := range c.Privacy.Consent {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(append(appendQuoted(b, one.Purpose), ':'), "%t", one.Granted)
	}
	return append(b, '}', '}'), nil
}
