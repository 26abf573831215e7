// Armadillo's mixtures as a worker of compare_peers.py: requests on standard input, answers as JSON lines.
#include <armadillo>
#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>
using namespace arma;

struct Job {
    virtual ~Job() {}
    virtual void run(int iterations) = 0;
};

void set(gmm_full& m, const mat& u, const cube& c, const rowvec& w) { m.set_params(u, c, w); }
void set(fgmm_full& m, const fmat& u, const fcube& c, const frowvec& w) { m.set_params(u, c, w); }
template <class M, class Mat_, class Cube_, class Row_>
void set(M& m, const Mat_& u, const Cube_& c, const Row_& w) { m.set_params(u, c.slice(0), w); }
const cube& covariances(const gmm_full& m) { return m.fcovs; }
const fcube& covariances(const fgmm_full& m) { return m.fcovs; }
const mat& covariances(const gmm_diag& m) { return m.dcovs; }
const fmat& covariances(const fgmm_diag& m) { return m.dcovs; }

template <class Model, class Real>
struct Fit : Job {
    Mat<Real> X, means;
    Cube<Real> covs;
    Row<Real> weights;
    std::string folder;

    Fit(const std::string& f, bool full, uword N, uword D, uword K) : X(D, N), folder(f) {
        std::ifstream rows(f + "/X.bin", std::ios::binary), start(f + "/start.bin", std::ios::binary);
        rows.read((char*)X.memptr(), N * D * sizeof(Real));
        rowvec w(K); mat u(D, K); cube c(D, full ? D : K, full ? K : 1);
        start.read((char*)w.memptr(), w.n_elem * 8);
        start.read((char*)u.memptr(), u.n_elem * 8);
        start.read((char*)c.memptr(), c.n_elem * 8);
        weights = conv_to<Row<Real>>::from(w); means = conv_to<Mat<Real>>::from(u);
        covs = conv_to<Cube<Real>>::from(c);
    }
    void run(int iterations) override {
        Model m;
        set(m, means, covs, weights);
        auto begin = std::chrono::steady_clock::now();
        bool good = m.learn(X, means.n_cols, maha_dist, keep_existing, 0, iterations, Real(1e-30), false);
        std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
        if (!good) { std::cout << "{\"error\": \"learn failed\"}" << std::endl; return; }
        std::ofstream out(folder + "/found.bin", std::ios::binary);
        write(out, m.hefts); write(out, m.means); write(out, covariances(m));
        out.close();
        std::cout.precision(17);
        std::cout << "{\"seconds\": " << taken.count() << ", \"iterations\": " << iterations << "}" << std::endl;
    }
    template <class A> static void write(std::ofstream& out, const A& a) {
        for (uword i = 0; i < a.n_elem; i++) { double v = a.memptr()[i]; out.write((char*)&v, 8); }
    }
};

int main() {
    std::cout << "{\"ready\": \"" << arma_version::major << "." << arma_version::minor << "." << arma_version::patch
              << "\"}" << std::endl;
    std::unique_ptr<Job> job;
    for (std::string line; std::getline(std::cin, line);) {
        std::stringstream in(line);
        std::vector<std::string> w;
        for (std::string word; std::getline(in, word, '\t');) w.push_back(word);
        if (w[0] == "run") { job->run(std::stoi(w[1])); continue; }
        if (w[0] != "load") { std::cout << "{\"error\": \"unknown request\"}" << std::endl; continue; }
        uword N = std::stoull(w[4]), D = std::stoull(w[5]), K = std::stoull(w[6]);
        bool full = w[2] == "full", dbl = w[3] == "float64";
        job.reset();
        if (full && dbl) job.reset(new Fit<gmm_full, double>(w[1], full, N, D, K));
        else if (full) job.reset(new Fit<fgmm_full, float>(w[1], full, N, D, K));
        else if (dbl) job.reset(new Fit<gmm_diag, double>(w[1], full, N, D, K));
        else job.reset(new Fit<fgmm_diag, float>(w[1], full, N, D, K));
        std::cout << "{}" << std::endl;
    }
}
