package analytics

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	r4 "github.com/samply/golang-fhir-models/fhir-models/fhir"
	"golang.org/x/sync/errgroup"

	"candela/fhir"
)

// writer collects results and writes what differs from the record.
type writer struct {
	*Runner
	part    slice
	report  *Report
	pending []Result
}

// change is a result that differs from the record.
type change struct {
	fhir.Resource
	version string // of the present resource, "" when there is none
}

// verdict is what a comparison found.
type verdict int

const (
	unchanged verdict = iota
	differs
	foreign // taken over by somebody else
	nothing // a correction of what is not there
)

// flush writes the pending results that change something as one transaction,
// together with a Provenance that names them.
func (w *writer) flush(ctx context.Context) error {
	pending := w.pending
	w.pending = nil
	changes, err := w.compare(ctx, pending)
	if err != nil || len(changes) == 0 {
		return err
	}
	device, err := Build(w.device())
	if err != nil {
		return err
	}
	if found, at, err := w.verdict(ctx, Result{Resource: device}); err != nil {
		return err
	} else if found == differs {
		changes = append(changes, change{device, at})
	}
	provenance, err := Build(w.provenance(changes))
	if err != nil {
		return err
	}
	w.report.Written += len(changes)
	return w.transact(ctx, append(changes, change{Resource: provenance}))
}

// compare keeps what differs, in order.
func (w *writer) compare(ctx context.Context, pending []Result) ([]change, error) {
	found, versions := make([]verdict, len(pending)), make([]string, len(pending))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(w.Workers)
	for i, one := range pending {
		group.Go(func() (err error) {
			found[i], versions[i], err = w.verdict(inner, one)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []change
	for i, one := range pending {
		switch found[i] {
		case differs:
			out = append(out, change{one.Resource, versions[i]})
		case unchanged:
			w.report.Unchanged++
		case foreign:
			w.report.Kept++
		case nothing:
		}
	}
	return out, nil
}

func (w *writer) verdict(ctx context.Context, one Result) (verdict, string, error) {
	present, err := w.door.Get(ctx, one.Resource.Type(), one.Resource.ID())
	if err != nil {
		return unchanged, "", err
	}
	if !present.Exists() {
		if one.Correction {
			return nothing, "", nil
		}
		return differs, "", nil
	}
	if !ours(present) {
		return foreign, "", nil
	}
	version := present.Root().Path("meta", "versionId").Text()
	stored := fhir.Apply(present.Raw(), fhir.DropServerMeta(present))
	if bytes.Equal(stored, one.Resource.Raw()) {
		return unchanged, version, nil
	}
	return differs, version, nil
}

func ours(res fhir.Resource) bool {
	for tag := range res.Root().Path("meta", "tag").Elements() {
		if tag.Get("system").Text() == Tag {
			return true
		}
	}
	return false
}

// transact writes all or nothing. Each replacement is bound to the version that
// it was compared with.
func (w *writer) transact(ctx context.Context, changes []change) error {
	var b bytes.Buffer
	b.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)
	for i, c := range changes {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"resource":`)
		b.Write(c.Raw())
		b.WriteString(`,"request":{"method":"PUT","url":`)
		b.Write(fhir.Quote(c.Type() + "/" + c.ID()))
		if c.version != "" {
			b.WriteString(`,"ifMatch":`)
			b.Write(fhir.Quote(`W/"` + c.version + `"`))
		}
		b.WriteString(`}}`)
	}
	b.WriteString(`]}`)
	bundle, err := fhir.ParseResource(b.Bytes(), fhir.Limits{Bytes: 256 << 20, Tokens: 32 << 20})
	if err != nil {
		return err
	}
	_, err = w.Door.Do(ctx, fhir.Request{Interaction: fhir.Batch, Resource: bundle, Base: w.Base, Caller: w.door.Caller})
	if err != nil {
		return fmt.Errorf("results of analytics: %w", err)
	}
	return nil
}

// provenance names what a transaction writes, by which software and from which
// stretch of the change feed.
func (w *writer) provenance(changes []change) r4.Provenance {
	stretch := strconv.FormatUint(uint64(w.part.from), 10) + "-" + strconv.FormatUint(uint64(w.part.to), 10)
	sum := sha256.New()
	sum.Write([]byte(stretch))
	targets := make([]r4.Reference, len(changes))
	for i, c := range changes {
		targets[i] = Reference(c.Type() + "/" + c.ID())
		sum.Write(c.Raw())
	}
	activity := Concept("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "", "transform", "Transform/Translate Record Lifecycle Event")
	assembler := Concept("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "", "assembler", "Assembler")
	software := Reference(Device)
	software.Display = new("Candela " + w.Version)
	return r4.Provenance{
		Id:       new(hex.EncodeToString(sum.Sum(nil)[:16])),
		Meta:     Meta("provenance"),
		Target:   targets,
		Recorded: w.Now().UTC().Format(fhir.InstantForm),
		Activity: &activity,
		Agent:    []r4.ProvenanceAgent{{Type: &assembler, Who: software}},
		Entity: []r4.ProvenanceEntity{{
			Role: r4.ProvenanceEntityRoleSource,
			What: r4.Reference{
				Identifier: &r4.Identifier{System: new(Identifier + "/changes"), Value: &stretch},
				Display:    new("records changed in this stretch of the change feed"),
			},
		}},
	}
}

// device is the software as a resource.
func (w *writer) device() r4.Device {
	return r4.Device{
		Id:         new(Device[len("Device/"):]),
		Meta:       Meta("device"),
		Status:     new(r4.FHIRDeviceStatusActive),
		DeviceName: []r4.DeviceDeviceName{{Name: "Candela analytics", Type: r4.DeviceNameTypeUserFriendlyName}},
		Version:    []r4.DeviceVersion{{Value: w.Version}},
	}
}
