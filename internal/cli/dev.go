package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"propusk/internal/account"
	"propusk/internal/api"
	"propusk/internal/config"
	"propusk/internal/dev"
)

// seedUserID is the id that the API's seed shows. The first user to register at
// a throwaway instance gets it, so that the seed's next lines can be sent as
// they are written.
const seedUserID = "e5f8433e-76a9-4509-87f0-e1b12354d92b"

type devCmd struct{ config.Flags }

// Run serves a throwaway instance.
func (c *devCmd) Run(r *run) error {
	cfg, err := config.Load(c.Flags, r.Environ, os.ReadFile, config.Dev)
	if err != nil {
		return err
	}
	return serve(r, cfg)
}

// listenFirst listens before anything is built: the links in mails lead to the
// address that comes of it, unless another was given.
func listenFirst(cfg *config.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if cfg.PublicURL == nil {
		cfg.PublicURL = &url.URL{Scheme: scheme(*cfg), Host: asAsked(cfg.Listen, l.Addr())}
	}
	return l, nil
}

// devFace is the face for whoever tries it out.
func devFace(ctx context.Context, cfg config.Config, in *instance, messages *messenger, face *api.API) http.Handler {
	return dev.New(dev.Options{
		Service: in.service, Outbox: messages.Outbox, Inbox: messages.inbox, Clock: in.moved, Zone: cfg.TimeZone,
		Fail: face.WriteError, Otherwise: face, Stopping: ctx.Done(),
	})
}

// seedUser makes the user whom the seed's example of a login names.
func seedUser(ctx context.Context, service *account.Service) error {
	_, err := service.CreateUser(ctx, operator(), account.Registration{
		Username: "username", Email: "username@example.com", Password: account.NewSecret("pass12345"),
	}, "", false)
	return err
}
